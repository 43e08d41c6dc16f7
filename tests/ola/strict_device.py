"""Errors that a GPU would give and the meta device does not: tensors of another device or dtype in one operation.

On `meta` torch multiplies a weight there with a tensor on the CPU, or bfloat16 with float32, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that take tensors of both devices: copies between them, and places on the CPU as an index.
COPIES = {"aten::_to_copy", "aten::copy_", "aten::to", "aten::index", "aten::index_put", "aten::index_put_"}
# Operations whose floating-point tensors have one dtype on a GPU.
ONE_DTYPE = {"aten::linear", "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::convolution"}
ONE_DTYPE |= {"aten::conv1d", "aten::conv2d", "aten::layer_norm", "aten::native_layer_norm"}


class _StrictOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.ndim}
        if len(devices) > 1 and name not in COPIES:
            raise RuntimeError(f"{name}: expected tensors on one device, got {sorted(devices)}")
        dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        if len(dtypes) > 1 and name in ONE_DTYPE:
            raise RuntimeError(f"{name}: expected tensors of one dtype, got {sorted(map(str, dtypes))}")
        return func(*args, **(kwargs or {}))


class _StrictAttention(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        mask = kwargs.get("attn_mask")
        if func is scaled_dot_product_attention and mask is not None:
            query: Tensor = args[0]
            if mask.dtype not in (torch.bool, query.dtype):
                raise RuntimeError(f"attention: expected a mask of {query.dtype} or bool, got {mask.dtype}")
        return func(*args, **kwargs)


@contextmanager
def strict_device() -> Iterator[None]:
    """Raise RuntimeError in the block for operations over tensors that do not fit on a GPU."""
    with _StrictAttention(), _StrictOperations():
        yield
