"""Metrics for Prometheus: in the file of `ola run --metrics`, and at the endpoint that Ray serves."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from manifests.ledger import FAILED, OK
from manifests.records import Caption, ModelCall, Outcome
from pipeline.engine import scheduler
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.monitoring import metrics, metrics_file
from pipeline.monitoring.metrics import ASIDE, IN_FLIGHT, MEDIA, METRICS, PARTS, RECORDS, TOKENS, VALUES, Labels, Metric
from pipeline.monitoring.metrics_file import MetricsFile
from tests import toys
from tests.media import numbered
from tests.runs import ola, rows, status, talking
from tests.test_project import ROOT
from tests.toys import apply, planned

SCRIPTED = ("annotator.engine=tests.pipeline.scripted:sensible", "isolate=false")
Samples = dict[tuple[str, tuple[str, ...]], float]  # by metric name and the values of its labels but the first (root)


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No values at first, and nothing logged yet."""
    monkeypatch.setattr(metrics, "_logged", set())
    VALUES.clear()
    yield
    VALUES.clear()


def samples(text: str, root: Path | str, prefix: str = "") -> Samples:
    """The samples of one run, added up over nodes and workers; only names of ours."""
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metric = METRICS.get(sample.name.removeprefix(prefix))
            if metric is not None and sample.labels["root"] == str(root):
                assert sample.name.startswith(prefix)
                assert family.type == metric.kind
                labels = tuple(sample.labels[label] for label in metric.labels[1:])
                found[metric.name, labels] += sample.value  # type: ignore[assignment]
    return dict(found)


def counted(root: Path | str) -> Samples:
    """What this process has counted for a run."""
    return samples(VALUES.text(), root)


def media_bytes(root: Path) -> int:
    """Bytes in the tars of the parts, without the mark at the end of each."""
    return sum(path.stat().st_size - tarfile.BLOCKSIZE * 2 for path in root.glob("*/*.tar"))


def test_a_run_writes_what_its_manifests_hold(tmp_path: Path) -> None:
    talking(tmp_path / "videos", "film", numbered("numbers.mp4", 200), 8)
    shutil.copy(tmp_path / "videos" / "film.mp4", tmp_path / "videos" / "same.mp4")
    root, file = tmp_path / "root", tmp_path / "ola.prom"
    settings = [word for setting in SCRIPTED for word in ("--set", setting)]
    run: tuple[str | Path, ...] = ("run", tmp_path / "videos", "--root", root, "--metrics", file, *settings)
    assert ola(*run).code == 0
    found = samples(file.read_text(), root)
    for step, facts in status(root).items():
        if step == "pack":
            continue
        for outcome in ("ok", "dropped", "failed"):
            assert found[RECORDS.name, (step, outcome)] == facts[outcome], step
        assert found[PARTS.name, (step,)] == 2  # a video each
        assert found["ola_step_seconds_total", (step,)] == pytest.approx(facts["seconds"], abs=0.05)
        assert found.get((IN_FLIGHT.name, (step,)), 0) == 0
    assert found[RECORDS.name, ("ingest", "dropped")] == 1
    assert found[MEDIA.name, ("extract",)] == media_bytes(root)
    for step in ("caption", "ask"):
        answers = f"(SELECT DISTINCT clip, asked FROM {step} WHERE status = 'ok')"
        query = f"SELECT sum(asked.prompt_tokens), sum(asked.answer_tokens) FROM {answers}"
        ((read, written),) = rows(root, query)
        assert (found[TOKENS.name, (step, "read")], found[TOKENS.name, (step, "written")]) == (read, written)
    assert ola(*run).code == 0  # nothing is left to do
    assert not any(samples(file.read_text(), root).values())
    assert [path.name for path in tmp_path.iterdir() if "draft" in path.name] == []


def test_the_file_is_whole_while_the_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_file, "INTERVAL", 0.01)
    file, seen = tmp_path / "ola.prom", list[float]()
    plan, parts = planned(tmp_path, [toys.Take(toys.Traced(pause=0.05))], ["ok"] * 20, per_part=4)

    def look(metric: Metric, value: float, labels: Labels) -> None:
        seen.append(samples(file.read_text(), tmp_path).get((RECORDS.name, ("take", OK)), 0))

    with MetricsFile(file):
        monkeypatch.setattr(VALUES, "sink", look)
        apply(plan, parts, InlineEngine(), isolate=False)
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert samples(file.read_text(), tmp_path)[RECORDS.name, ("take", OK)] == 20


def test_a_file_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "ola.prom"
    said = ola("run", tmp_path, "--root", tmp_path / "root", "--metrics", file)
    assert said.code == 2
    assert said.err == (
        f"ola: --metrics: expected a file that can be written, got {file} (No such file or directory); "
        "make its folder, or name another\n"
    )
    assert not (tmp_path / "root").exists()


def test_a_folder_that_goes_costs_one_line_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics_file, "INTERVAL", 0.01)
    folder = tmp_path / "collector"
    folder.mkdir()
    plan, parts = planned(tmp_path, [toys.Take(toys.Traced(pause=0.02))], ["ok"] * 10, per_part=4)
    with caplog.at_level(logging.WARNING), MetricsFile(folder / "ola.prom"):
        shutil.rmtree(folder)
        assert apply(plan, parts, InlineEngine(), isolate=False) == []
        time.sleep(0.1)
    assert plan.find_step("take").manifest.total().ok == 10
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("metrics: MetricsFile._try_to_write: FileNotFoundError")


def test_errors_in_metrics_are_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such\ninstrument")

    monkeypatch.setattr(metrics, "answers_in", refuse)
    monkeypatch.setattr(VALUES, "sink", refuse)
    plan, parts = planned(tmp_path, [toys.Take()], ["ok"] * 6, per_part=2)
    with caplog.at_level(logging.WARNING):
        assert apply(plan, parts, InlineEngine(), isolate=False) == []
    assert plan.find_step("take").manifest.total().ok == 6
    assert [record.getMessage() for record in caplog.records] == [
        "metrics: publishing on Ray: RuntimeError: no such instrument; the run goes on",
        "metrics: StepMetrics.done: RuntimeError: no such instrument; the run goes on",
    ]
    assert counted(tmp_path)[RECORDS.name, ("take", OK)] == 6


def in_flight(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str], Path, bool], list[float]]:
    """A function that runs deeds, and returns what the gauge of records in flight was set to, one after the other."""
    seen: list[float] = []

    def note(metric: Metric, value: float, labels: Labels) -> None:
        if metric is IN_FLIGHT:
            seen.append(value)

    def work(deeds: list[str], root: Path, isolate: bool) -> list[float]:
        plan, parts = planned(root, [toys.Film()], deeds, per_part=len(deeds), batch=3)
        seen.clear()
        apply(plan, parts, InlineEngine(), isolate)
        return list(seen)

    monkeypatch.setattr(VALUES, "sink", note)
    return work


def test_records_in_flight_and_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = in_flight(monkeypatch)
    gate = tmp_path / "gate"
    assert work(["ok", "raise", "ok"], tmp_path / "bad", True) == [3, 1, 0, 1, 0, 1, 0]  # then each alone
    assert counted(tmp_path / "bad")[RECORDS.name, ("film", FAILED)] == 1
    deeds = ["ok", "ok", "ok", f"wait {gate}"]
    assert work(deeds, tmp_path / "waits", False) == [3, 2, 1, 0, 1, 0]
    assert counted(tmp_path / "waits")[ASIDE.name, ("film",)] == 1
    assert (PARTS.name, ("film",)) not in counted(tmp_path / "waits")
    gate.touch()
    assert work(deeds, tmp_path / "waits", False) == [1, 0]
    found = counted(tmp_path / "waits")
    assert found[RECORDS.name, ("film", OK)] == 4
    assert found[MEDIA.name, ("film",)] == media_bytes(tmp_path / "waits")


def test_records_of_one_answer_count_its_tokens_once() -> None:
    said = [
        ModelCall(prompt="p", answer=a, finish="stop", prompt_tokens=9, answer_tokens=2, latency=1.0) for a in "xyy"
    ]
    made = [Caption(id=f"{n}", clip="c", footage="f", view="video", text="t", asked=a) for n, a in enumerate(said)]
    metrics.StepMetrics("root", "caption").done(Outcome("c", OK, 1.0, tuple(made)), 0)
    assert (counted("root")[TOKENS.name, ("caption", "read")]) == 18
    assert (counted("root")[TOKENS.name, ("caption", "written")]) == 4


def test_labels_may_hold_anything() -> None:
    root = 'a\\b"c\nd\udcff'
    metrics.StepMetrics(root, "split").committed()
    assert counted('a\\b"c\nd\\udcff')[PARTS.name, ("split",)] == 1


def endpoint() -> str:
    """What the Prometheus endpoints of all nodes of this Ray say."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    urls = [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes]
    return "".join(urllib.request.urlopen(url, timeout=10).read().decode() for url in urls)


def test_the_endpoint_of_ray_has_them_while_a_run_works(
    tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gauge that does not change during a batch is published again, since Ray forgets it after 2 s."""
    monkeypatch.setattr(scheduler, "REPORT", 0.1)
    monkeypatch.setattr(scheduler, "REPLAN", 0.2)
    steps = [toys.Take(toys.Traced(pause=0.4)), toys.Film()]
    plan, parts = planned(tmp_path, steps, [*["ok"] * 9, "drop", *["ok"] * 4], per_part=14, batch=10)
    engine, seen = RayEngine(), list[tuple[float, Samples]]()
    engine.report = lambda states: seen.append((time.monotonic(), samples(endpoint(), tmp_path, "ray_")))
    assert apply(plan, parts, engine) == []
    first_batch = [at for at, each in seen if each.get((IN_FLIGHT.name, ("take",))) == 10]
    assert first_batch[-1] - first_batch[0] > 2.5
    ours = {key: value for key, value in counted(tmp_path).items() if value}
    assert ours[RECORDS.name, ("take", OK)] == 13
    assert ours[PARTS.name, ("film",)] == 1
    end, found = time.monotonic() + 20, dict[tuple[str, tuple[str, ...]], float]()
    while found != pytest.approx(ours) and time.monotonic() < end:
        time.sleep(0.3)
        found = {key: value for key, value in samples(endpoint(), tmp_path, "ray_").items() if value}
    assert found == pytest.approx(ours)


def test_ray_is_not_imported_for_metrics_inline(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tests import toys; from pipeline.engine.engines import InlineEngine\n"
        "from pipeline.monitoring.metrics_file import MetricsFile\n"
        f"root = pathlib.Path({str(tmp_path)!r}); plan, parts = toys.planned(root, [toys.Take()], ['ok'], 1)\n"
        "with MetricsFile(root / 'ola.prom'): toys.apply(plan, parts, InlineEngine(), isolate=False)\n"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert 'ola_parts_committed_total{root="' in (tmp_path / "ola.prom").read_text()


def test_the_documentation_has_every_metric() -> None:
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(ola_\w+)` \| \w+ \| ([^|]*) \|", text, re.MULTILINE))
    assert list(table) == list(METRICS)
    for name, labels in table.items():
        assert tuple(re.findall(r"`(\w+)`", labels)) == METRICS[name].labels, name
