"""Attention in two parts against attention under a mask: the same values and gradients, and no square of the row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ola.packing import SharedPrefix
from ola.segments import Segments, attend_segments

GROUPS = (SharedPrefix(0, (5,)), SharedPrefix(7, (1, 4, 2)), SharedPrefix(3, (3, 3)), SharedPrefix(0, (1,)))


def segments_of(groups: tuple[SharedPrefix, ...]) -> Segments:
    return Segments.with_prefixes([(each.shared, each.rests) for each in groups], torch.device("cpu"))


def drawn(length: int, heads: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(length, heads, 16, dtype=dtype).requires_grad_()


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (each.transpose(0, 1)[None] for each in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, mask, scale=0.3, enable_gqa=True)[0].transpose(0, 1)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("groups", [GROUPS, GROUPS[:1], GROUPS[1:2]])
def test_parts_are_merged_to_attention_under_a_mask(groups: tuple[SharedPrefix, ...], key_heads: int) -> None:
    torch.manual_seed(0)
    total = sum(map(len, groups))
    given = drawn(total, 4), drawn(total, key_heads), drawn(total, key_heads)
    mask = torch.block_diag(*(each.mask() for each in groups)).bool()
    wanted, merged = masked(*given, mask), attend_segments(*given, segments_of(groups), 0.3)
    torch.testing.assert_close(merged, wanted, rtol=0, atol=1e-5)
    gradient = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(merged, given, gradient), torch.autograd.grad(wanted, given, gradient), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_pictures_see_themselves_in_both_directions() -> None:
    given = drawn(9, 2), drawn(9, 2), drawn(9, 2)
    segments = Segments.alone([4, 4, 1], causal=False, device=torch.device("cpu"))
    mask = torch.block_diag(torch.ones(4, 4), torch.ones(4, 4), torch.ones(1, 1)).bool()
    torch.testing.assert_close(attend_segments(*given, segments, 0.3), masked(*given, mask), rtol=0, atol=1e-5)


class Largest(TorchDispatchMode):
    """Notes the elements of the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        for each in made if isinstance(made, tuple | list) else [made]:
            self.elements = max(self.elements, each.numel() if isinstance(each, Tensor) else 0)
        return made


def test_nothing_as_large_as_the_square_of_a_row_is_made() -> None:
    groups = (SharedPrefix(1000, (100, 100, 100)),)
    given = drawn(1300, 2), drawn(1300, 1), drawn(1300, 1)
    with Largest() as largest:
        attend_segments(*given, segments_of(groups), None).sum().backward()
    assert 0 < largest.elements <= 1300 * 2 * 16
