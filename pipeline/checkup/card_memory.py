"""Read the memory of NVIDIA GPUs from the driver's library, and compare shares of a GPU with a model's needs.

The library (NVML) opens no GPU and answers in milliseconds, so that every run can ask it before it begins.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from ola import locate_model
from pipeline.annotation.model_sizes import model_sizes
from pipeline.checkup.needs import Needs

LIBRARY = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    """NVML's `nvmlMemory_t`, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def card_memories() -> tuple[int, ...]:
    """Return the bytes of memory of each GPU of this machine; () if there is no driver or it does not say."""
    try:
        library = ctypes.CDLL(LIBRARY)
        if library.nvmlInit_v2():
            return ()
        try:
            return tuple(_memories(library))
        finally:
            library.nvmlShutdown()
    except (OSError, AttributeError):
        return ()


def _memories(library: Any) -> Iterator[int]:
    count = ctypes.c_uint(0)
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return
    for number in range(count.value):
        handle, memory = ctypes.c_void_p(), _Memory()
        failed = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle))
        if not failed and not library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
            yield memory.total


def room_fault(needs: Needs, memories: tuple[int, ...]) -> str:
    """Return why vLLM engines that share the smallest of these GPUs have no room; "" if they have, or share none."""
    share = needs.annotator.share
    if not memories or not needs.model or needs.annotator.engine != "vllm" or not 0 < share < 1:
        return ""
    try:
        sizes = model_sizes(locate_model(needs.model), needs.annotator.dtype)
    except (ValueError, OSError):
        return ""  # the model's own check names the fault
    fault = sizes.vllm_fault(share, min(memories))
    return f"annotator.gpus: expected room for vLLM, got {share:g} ({fault}); set annotator.gpus=1" if fault else ""
