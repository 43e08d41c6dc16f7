"""Attention within segments of a row, by one kernel call for all segments, without a mask.

In: queries, keys and values of a row, and its `Segments`: sequences, pictures, or rests of sequences that also see a
prefix which they share. A rest attends in two parts, to the prefix and to itself, which are merged by their
log-sum-exps. The kernels' backward passes are exact for the merged result, since they take its output and its
log-sum-exp. Out: the attention, and gradients. On CUDA these are flash attention's kernels for variable lengths, on a
CPU torch's flash attention, segment by segment.

Legend: N positions of a row, M positions of keys, h heads of queries, k heads of keys, d width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor

aten = torch.ops.aten


class Spans:
    """Stretches of queries, one after the other, and the stretches of keys that they attend to.

    causal: whether a query attends only to keys up to its own place.
    """

    def __init__(self, queries: Sequence[int], keys: Sequence[int], causal: bool, device: torch.device) -> None:
        self.queries, self.keys, self.causal = tuple(queries), tuple(keys), causal
        ends = [[*accumulate(lengths, initial=0)] for lengths in (self.queries, self.keys)]
        self.query_ends, self.key_ends = torch.tensor(ends, dtype=torch.int32).to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of a row. within: all segments, each of which attends to itself.

    across: rests and the prefixes that they see; rests, prefixes: the positions of these in the row, as `across` has
    them; None in a row without shared prefixes.
    """

    within: Spans
    across: Spans | None = None
    rests: Tensor | None = None
    prefixes: Tensor | None = None

    @classmethod
    def alone(cls, lengths: Sequence[int], causal: bool, device: torch.device) -> Segments:
        """Segments that share nothing."""
        return cls(Spans(lengths, lengths, causal, device))

    @classmethod
    def with_prefixes(cls, groups: Sequence[tuple[int, Sequence[int]]], device: torch.device) -> Segments:
        """Causal segments. groups: the length of a shared prefix, 0 for none, and those of the rests after it."""
        lengths = [length for shared, rests in groups for length in ([shared] if shared else []) + [*rests]]
        within = Spans(lengths, lengths, True, device)
        starts = accumulate((shared + sum(rests) for shared, rests in groups), initial=0)
        sharing = [(at, shared, sum(rests)) for at, (shared, rests) in zip(starts, groups, strict=False) if shared]
        if not sharing:
            return cls(within)
        across = Spans([rest for *_, rest in sharing], [shared for _, shared, _ in sharing], False, device)
        rests = torch.cat([torch.arange(at + shared, at + shared + rest) for at, shared, rest in sharing])
        prefixes = torch.cat([torch.arange(at, at + shared) for at, shared, _ in sharing])
        return cls(within, across, rests.to(device), prefixes.to(device))


def has_kernel(query: Tensor) -> bool:
    """Return whether there is a kernel for queries (…, d) of this device, dtype and width.

    Flash attention runs on NVIDIA's cards from Ampere on, in 16 bits.
    """
    if query.device.type == "cpu":
        return True
    fits = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
    return fits and query.is_cuda and _has_flash(query.device)


@lru_cache
def _has_flash(device: torch.device) -> bool:
    is_built = torch.version.hip is None and torch.backends.cuda.is_flash_attention_available()
    return is_built and torch.cuda.get_device_capability(device) >= (8, 0)


def attend_segments(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float | None) -> Tensor:
    """Return the attention (N, h, d) of queries (N, h, d) to keys and values (N, k, d) of a row."""
    return cast(Tensor, _SegmentAttention.apply(query, key, value, segments, scale))


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float | None) -> Tensor:
        out, lse = _forward(query, key, value, segments.within, scale)
        if segments.across is not None:
            rests, prefixes = segments.rests, segments.prefixes
            other, other_lse = _forward(query[rests], key[prefixes], value[prefixes], segments.across, scale)
            own_lse = lse[:, rests]
            both = torch.logaddexp(own_lse, other_lse)
            own = out[rests] * (own_lse - both).exp().T[..., None]
            out[rests] = (own + other * (other_lse - both).exp().T[..., None]).to(out.dtype)
            lse[:, rests] = both
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.segments, ctx.scale = segments, scale
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        segments: Segments = ctx.segments
        gradient = gradient.contiguous()
        found = _backward(gradient, query, key, value, out, lse, segments.within, ctx.scale)
        if segments.across is not None:
            rests, prefixes = segments.rests, segments.prefixes
            more = _backward(
                gradient[rests], query[rests], key[prefixes], value[prefixes], out[rests], lse[:, rests].contiguous(),
                segments.across, ctx.scale,
            )  # fmt: skip
            for total, part, at in zip(found, more, (rests, prefixes, prefixes), strict=True):
                total[at] += part
        return *found, None, None


def _forward(query: Tensor, key: Tensor, value: Tensor, spans: Spans, scale: float | None) -> tuple[Tensor, Tensor]:
    """Return attention (N, h, d) and log-sum-exps (h, N)."""
    if query.is_cuda:
        ends = (spans.query_ends, spans.key_ends, max(spans.queries), max(spans.keys))
        out, lse, *_ = aten._flash_attention_forward(query, key, value, *ends, 0.0, spans.causal, False, scale=scale)
        return out, lse
    parts = [
        aten._scaled_dot_product_flash_attention_for_cpu(*part, 0.0, spans.causal, scale=scale)
        for part in _split(spans, [query], [key, value])
    ]
    return torch.cat([_joined(out) for out, _ in parts]), torch.cat([lse[0] for _, lse in parts], 1)


def _backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor,
    spans: Spans, scale: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of queries, keys and values."""
    if query.is_cuda:
        ends = (spans.query_ends, spans.key_ends, max(spans.queries), max(spans.keys))
        none = torch.zeros(2, dtype=torch.uint64, device=query.device)  # the random state of a dropout of 0
        given = (gradient, query, key, value, out, lse, *ends, 0.0, spans.causal, none, none)
        found: tuple[Tensor, Tensor, Tensor] = aten._flash_attention_backward(*given, scale=scale)
        return found
    lses = lse.split(spans.queries, 1)
    parts = []
    for part, lse_part in zip(_split(spans, [gradient, query], [key, value], [out]), lses, strict=True):
        *start, output = part
        gradients = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *start, output, lse_part[None], 0.0, spans.causal, scale=scale
        )
        parts.append([_joined(each) for each in gradients])
    queries, keys, values = (torch.cat(each) for each in zip(*parts, strict=True))
    heads = key.shape[1]  # several heads of queries share one of keys
    return queries, keys.unflatten(1, (heads, -1)).sum(2), values.unflatten(1, (heads, -1)).sum(2)


def _split(
    spans: Spans, queries: Sequence[Tensor], keys: Sequence[Tensor], more: Sequence[Tensor] = ()
) -> list[tuple[Tensor, ...]]:
    """Return, for each pair, its queries, its keys with as many heads, and more like queries; all (1, h, L, d)."""
    times = queries[-1].shape[1] // keys[0].shape[1]
    repeated = [each.repeat_interleave(times, 1) for each in keys]
    split = [
        each.transpose(0, 1)[None].split(lengths, 2)
        for some, lengths in ((queries, spans.queries), (repeated, spans.keys), (more, spans.queries))
        for each in some
    ]
    return list(zip(*split, strict=True))


def _joined(tensor: Tensor) -> Tensor:
    return tensor[0].transpose(0, 1)
