"""Settings of torch for CUDA that differ from torch's own, each only where the user has not chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch 2.9 renamed the variable and warns of the old name, which is the only one that 2.8 reads.
ALLOCATOR = "PYTORCH_ALLOC_CONF" if torch.__version__ >= torch.torch_version.TorchVersion("2.9") else ""
OLD_ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
EXPANDABLE = "expandable_segments:True"


def expand_segments(device: torch.device | str) -> None:
    """Have CUDA's allocator grow its segments, so that batches of ever other sizes leave no gaps between them.

    Only before this process opens CUDA, since torch reads the setting then, and unless the user has set the variable.
    """
    is_chosen = any(os.environ.get(name) for name in (ALLOCATOR, OLD_ALLOCATOR))
    if torch.device(device).type == "cuda" and not is_chosen and not torch.cuda.is_initialized():
        os.environ[ALLOCATOR or OLD_ALLOCATOR] = EXPANDABLE


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Have convolutions of float32 compute in float32 on CUDA during the block, where cuDNN's default is TF32.

    Of torch's two ways to say so one is used, since torch refuses a mix: that of 2.9 and later if there is one.
    """
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if convolutions is None:
        with torch.backends.cudnn.flags(**_flags(), allow_tf32=False):
            yield
        return
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def _flags() -> dict[str, bool]:
    """Return cuDNN's other flags as they are: `torch.backends.cudnn.flags` sets all of them."""
    return {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
