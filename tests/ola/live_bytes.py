"""Count the bytes of live tensors while code runs, on the CPU or the meta device: the same at each run."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make until they are freed. peak: the most bytes at a time.

    known: tensors that are there before and count for nothing. Buffers within a kernel are not seen.
    """

    def __init__(self, device: str, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.device, self.live, self.peak = device, 0, 0
        self._seen: set[int] = {tensor.untyped_storage()._cdata for tensor in known}
        self._known = list(known)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.live += size
            weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


class FusedAttention(TorchFunctionMode):
    """Attention that makes its result alone, as fused kernels do; torch takes none of them on `meta`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _key, value = args[:3]
            return query.new_empty((*query.shape[:2], query.shape[2], value.shape[3]))
        return func(*args, **(kwargs or {}))
