"""Compare the NVIDIA driver with the CUDA version of torch, and the memory of GPUs with a model's size.

If torch is built for a newer CUDA than the driver supports, it sees no GPU, without an error: `cuda.is_available()` is
False. `cuda_view` detects this in milliseconds, without importing torch or opening a GPU; `torch_view` asks torch in
another process.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.model_sizes import ModelSizes
from pipeline.checkup.finding import Finding, good, low, missing, unneeded
from pipeline.checkup.needs import Needs

OLDEST_DRIVER = {12: "525", 13: "580"}  # on Linux, by the major CUDA version of a torch build
WHEELS = {12: "cu126", 13: "cu130"}  # torch's package index, by major CUDA version
DRIVER_FILES = ("/sys/module/nvidia/version", "/proc/driver/nvidia/version")
TIMEOUT = 120.0  # seconds for importing torch: from a cold disk it may take one minute
ASK_TORCH = """
import json, torch
many = torch.cuda.device_count() if torch.cuda.is_available() else 0
cards = [torch.cuda.get_device_properties(n) for n in range(many)]
print(json.dumps([[each.name, each.total_memory, torch.cuda.mem_get_info(n)[0], [each.major, each.minor]]
                  for n, each in enumerate(cards)]))
"""


@dataclass(frozen=True)
class CudaView:
    """CUDA on a machine, as far as known without opening a GPU.

    torch: version of torch; "" if not installed. build: the CUDA version of the torch build; "" for none. driver:
    version of the NVIDIA driver; "" if unknown. supports: the newest CUDA that the driver supports; None without a
    driver. other: torch is built for another maker's GPUs, which are not checked.
    """

    torch: str = ""
    build: str = ""
    driver: str = ""
    supports: tuple[int, int] | None = None
    other: bool = False


@dataclass(frozen=True)
class Card:
    """A GPU as torch sees it: name, total and free memory in bytes, compute capability."""

    name: str
    memory: int
    free: int
    capability: tuple[int, int] = (9, 0)


@dataclass(frozen=True)
class TorchView:
    """The GPUs that torch sees. words: torch's standard error, if it sees none."""

    cards: tuple[Card, ...] = ()
    words: str = ""


def cuda_view() -> CudaView:
    """Return the view of CUDA on this machine, in milliseconds."""
    facts, supports = _torch_facts(), _driver_supports()
    version = str(facts.get("__version__", ""))
    other = bool(facts.get("hip") or facts.get("xpu"))
    return CudaView(version, facts.get("cuda") or "", _driver_version() if supports else "", supports, other)


def _torch_facts() -> dict[str, Any]:
    """Return the variables in torch's `version.py`, without importing torch."""
    spec = find_spec("torch")
    with suppress(OSError):
        for folder in (spec.submodule_search_locations or []) if spec else []:
            return runpy.run_path(str(Path(folder, "version.py")))
    return {}


def _driver_supports() -> tuple[int, int] | None:
    """Return the newest CUDA that the driver supports, without opening a GPU."""
    number = ctypes.c_int(0)
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return (number.value // 1000, number.value % 1000 // 10) if not failed and number.value else None


def _driver_version() -> str:
    """Return the version of the NVIDIA kernel driver, such as 580.65.06; "" if unknown."""
    for name in DRIVER_FILES:
        with suppress(OSError):
            if match := re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", Path(name).read_text()):
                return match[0]
    return ""


def torch_view(hidden: bool = False) -> TorchView:
    """Ask torch for its GPUs, in another process.

    hidden: include GPUs that CUDA_VISIBLE_DEVICES hides, as Ray does for tasks without a GPU.
    """
    environment = {key: value for key, value in os.environ.items() if not (hidden and key == "CUDA_VISIBLE_DEVICES")}
    try:
        done = subprocess.run([sys.executable, "-c", ASK_TORCH], capture_output=True, text=True, check=False,
                              timeout=TIMEOUT, env=environment)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return TorchView(words=str(error))
    return view_of(done.stdout, done.stderr)


def view_of(out: str, errors: str) -> TorchView:
    """Parse the output of the process of `torch_view`."""
    words = " ".join(errors.strip().splitlines()[-1:])
    try:
        found = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return TorchView(words=words)
    cards = (Card(name, memory, free, (major, minor)) for name, memory, free, (major, minor) in found)
    return TorchView(tuple(cards), words)


def cuda_fault(view: CudaView, hidden: str | None = None) -> tuple[str, str] | None:
    """Return why torch cannot use a GPU, and what to do; None if no fault is known.

    hidden: the value of CUDA_VISIBLE_DEVICES, if it applies.
    """
    if view.other:
        return None
    if not view.torch:
        return "torch is not installed", "pip install torch"
    if view.supports is None:
        return (f"no NVIDIA driver here (torch {view.torch})",
                "install one for CUDA 13 (580 or newer), start the container with its GPUs (docker run --gpus all), "
                "or take a machine that has one")  # fmt: skip
    if hidden is not None and hidden.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides all GPUs", "unset CUDA_VISIBLE_DEVICES"
    return _build_fault(view, view.supports)


def _build_fault(view: CudaView, supports: tuple[int, int]) -> tuple[str, str] | None:
    driver = " ".join(filter(None, ("driver", view.driver, f"with CUDA {supports[0]}.{supports[1]}")))
    if not view.build:
        return f"torch {view.torch} is a build without CUDA, beside a {driver}", install_command(view.torch, supports)
    major = int(view.build.partition(".")[0])
    if supports[0] >= major:
        return None
    oldest = OLDEST_DRIVER.get(major, "")
    newer = f"update the NVIDIA driver{f' to {oldest} or newer' if oldest else ''}"
    found = f"torch {view.torch} is built for CUDA {view.build}, and here is a {driver}: it sees no GPU"
    older = install_command(view.torch, supports) if supports[0] >= min(WHEELS) else ""
    cards = " (GPUs from Blackwell on need the newer driver)" if supports[0] == min(WHEELS) else ""
    return found, f"{newer}, or take the build for it{cards}: {older}" if older else newer


def install_command(torch: str, supports: tuple[int, int]) -> str:
    """Return the command that installs this version of torch in the newest build that the driver supports."""
    fitting = [wheel for major, wheel in WHEELS.items() if major <= supports[0]]
    if not fitting:
        return f"update the NVIDIA driver to {OLDEST_DRIVER[max(WHEELS)]} or newer"
    index = f"--index-url https://download.pytorch.org/whl/{fitting[-1]}"
    return f"`pip uninstall -y torch && pip install {index} torch=={torch.partition('+')[0]}`"


def gpu_findings(needs: Needs, view: CudaView, torch: TorchView, sizes: ModelSizes | None) -> Iterator[Finding]:
    """Check that torch can use a GPU here and that the model fits in its memory; yield the findings."""
    if not needs.gpu:
        yield unneeded("GPU")
        return
    if fault := cuda_fault(view, os.environ.get("CUDA_VISIBLE_DEVICES")):
        yield missing("GPU", f"{needs.gpu} needs one; {fault[0]}", fault[1])
    elif not torch.cards:
        words = f" ({torch.words})" if torch.words else ""
        yield missing("GPU", f"{needs.gpu} needs one, and torch {view.torch} sees none{words}",
                      "see what `nvidia-smi` says; restart the machine after an update of the driver")  # fmt: skip
    else:
        yield good("GPU", f"{card_names(torch.cards)}; torch {view.torch} for CUDA {view.build}, driver {view.driver}")
        if sizes is not None:
            yield memory_finding(sizes, needs.annotator, torch.cards)


def card_names(cards: Sequence[Card]) -> str:
    """Return the GPUs as text, such as 2 x NVIDIA H100 (80 GB)."""
    kinds = dict.fromkeys((card.name, round(card.memory / 1e9)) for card in cards)
    counts = {kind: sum((card.name, round(card.memory / 1e9)) == kind for card in cards) for kind in kinds}
    return ", ".join(f"{many} x {name} ({memory} GB)" for (name, memory), many in counts.items())


def memory_finding(sizes: ModelSizes, annotator: AnnotatorSettings, cards: Sequence[Card]) -> Finding:
    """Check that a worker's share of the smallest GPU holds the weights and the cache of one batch."""
    card = min(cards, key=lambda each: each.memory)
    share = min(annotator.share, 1.0) or 1.0
    if annotator.engine == "vllm" and share < 1:
        return _shared_vllm_finding(sizes, annotator, card, share)
    total = sizes.total_on_vllm if annotator.engine == "vllm" else sizes.total
    detail = f"{total / 1e9:.1f} GB for {annotator.model} ({sizes}), {share * card.memory / 1e9:.1f} GB for a worker"
    if total > share * card.memory:
        return missing("GPU memory", detail, _more_memory(share))
    if total > card.free:
        return low("GPU memory", f"{detail}, {card.free / 1e9:.1f} GB free now", "end what uses it (`nvidia-smi`)")
    return good("GPU memory", detail)


def _shared_vllm_finding(sizes: ModelSizes, annotator: AnnotatorSettings, card: Card, share: float) -> Finding:
    """Check that each of several vLLM engines on a GPU has room for the cache of one longest prompt."""
    if fault := sizes.vllm_fault(share, card.memory):
        return missing("GPU memory", fault, _more_memory(share))
    room = share * card.memory
    cache = sizes.vllm_cache(room)
    left = f"which leaves {cache / 1e9:.1f} GB: {cache // sizes.position:,} positions"
    told = f"{sizes.vllm_room(share, card.memory)}, {left}"
    if room > card.free:
        return low("GPU memory", f"{told}, {card.free / 1e9:.1f} GB free now", "end what uses it (`nvidia-smi`)")
    return good("GPU memory", told)


def _more_memory(share: float) -> str:
    larger = "take a larger GPU, or a smaller model"
    return f"set annotator.gpus=1, or {larger}" if share < 1 else f"{larger}, or annotator.dtype=bfloat16"
