"""Recognise errors after which a process cannot use its GPU, so that every later record would fail, too.

Torch and vLLM raise these errors as plain exceptions: the process goes on, but its CUDA context is unusable. Running
out of memory is no such error, since the next batch may fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TYPES = ("AcceleratorError", "EngineDeadError")  # of torch; of vLLM
WORDS = re.compile(
    r"(CUDA|HIP) error:"
    r"|device-side assert|illegal memory access|illegal instruction|misaligned address|unspecified launch failure"
    r"|uncorrectable ECC|\bXid\b|fallen off the bus|GPU is lost|context is destroyed|driver shutting down"
    r"|(CUBLAS|CUSOLVER|CUDNN|CUFFT)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED|MAPPING_ERROR)"
    r"|EngineCore encountered|engine core (died|is dead|proc.* died)",
    re.IGNORECASE,
)
MEMORY = re.compile(r"out of memory|cudaErrorMemoryAllocation|_STATUS_ALLOC_FAILED", re.IGNORECASE)


def is_device_lost(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, means that this process can no longer use its GPU."""
    return any(_means_lost(each) for each in _chain(error))


def _means_lost(error: BaseException) -> bool:
    words = str(error)
    if MEMORY.search(words):
        return False
    return type(error).__name__ in TYPES or (isinstance(error, RuntimeError) and bool(WORDS.search(words)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
