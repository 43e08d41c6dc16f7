"""Pack several sequences in one row, with attention within each, so that training needs no padding.

In: prompts whose media are encoded. Out: the arguments with which Qwen2 reads the prompts as one row, for a model with
`attn_implementation="packed"`; importing this module registers the name with transformers. Attention costs the sum of
the squared lengths of the sequences, and no mask over the row is made (`ola.segments`).

Neighbours with a common prefix, such as tasks of one video, form a `SharedPrefix`: the prefix is in the row once. Each
sequence attends to the same positions as if it were alone, so losses and gradients do not change.

Legend: N positions of a row, L of a sequence or a shared prefix, h heads, d width of a head, C width of the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from ola.prompt import Prompt
from ola.segments import Segments, attend_segments, has_kernel

PACKED = "packed"
"""Name of the attention in `config._attn_implementation`."""
LEAST_SHARED = 0.5  # of the longest of a group: where less is shared, attention in two parts costs more than it saves


@dataclass(frozen=True)
class SharedPrefix:
    """Sequences in a row: first the `shared` positions, then the `rests` of each. A single sequence shares none."""

    shared: int
    rests: tuple[int, ...]

    def __len__(self) -> int:
        return self.shared + sum(self.rests)

    def positions(self) -> Iterator[Tensor]:
        """Yield the position ids of the shared prefix, then of each rest, which continue those of the prefix."""
        yield torch.arange(self.shared)
        yield from (torch.arange(self.shared, self.shared + rest) for rest in self.rests)

    def sequence_positions(self) -> list[Tensor]:
        """Return the indices of each sequence's positions within the group."""
        starts = accumulate(self.rests, initial=self.shared)
        shared = torch.arange(self.shared)
        return [torch.cat([shared, torch.arange(at, at + n)]) for at, n in zip(starts, self.rests, strict=False)]

    def mask(self) -> Tensor:
        """Return the attention mask (L, L): each position sees the prefix and its own sequence, causally."""
        owners = torch.arange(len(self.rests)).repeat_interleave(torch.tensor(self.rests))
        owner_L = torch.cat([torch.full((self.shared,), -1), owners])
        visible = (owner_L[:, None] == owner_L) | (owner_L == -1)
        return visible.tril()


@dataclass(frozen=True)
class PrefixGroup:
    """Prompts from `first` up to `end` (exclusive) whose first `ids` tokens are equal and include all media."""

    first: int
    end: int
    ids: int


def group_prefixes(prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[PrefixGroup]:
    """Group neighbouring prompts with a common prefix. lengths: of the prompts with their media.

    Media are equal if their digests are equal and not empty.
    """
    found = [PrefixGroup(0, 1, 0)]
    for n in range(1, len(prompts)):
        last = found[-1]
        first, ids = prompts[last.first], _count_shared_tokens(prompts[last.first], prompts[n])
        ids = min(ids, last.ids or ids)
        shared = lengths[last.first] - len(first.input_ids) + ids
        if ids and shared >= LEAST_SHARED * max(lengths[last.first : n + 1]):
            found[-1] = PrefixGroup(last.first, n + 1, ids)
        else:
            found.append(PrefixGroup(n, n + 1, 0))
    return found


def _count_shared_tokens(prompt: Prompt, other: Prompt) -> int:
    """Count the first tokens that two prompts share, with all media; at least one token of each is not shared."""
    digests = [[medium.digest for medium in each.media] for each in (prompt, other)]
    if digests[0] != digests[1] or "" in digests[0]:
        return 0
    most = min(len(prompt.input_ids), len(other.input_ids)) - 1
    ids = int((prompt.input_ids[:most] == other.input_ids[:most]).cumprod(0).sum())
    return ids if int((prompt.input_ids[:ids] < 0).sum()) >= len(prompt.media) else 0


def row_lengths(prompts: Sequence[Prompt]) -> Iterator[int]:
    """Yield the lengths of the pieces of a row of prompts: of each group's prefix, then of each prompt's rest."""
    for alike in group_prefixes(prompts, [prompt.length for prompt in prompts]):
        some = prompts[alike.first : alike.end]
        yield from [some[0].length - len(some[0].input_ids) + alike.ids] if alike.ids else []
        yield from [len(prompt.input_ids) - alike.ids if alike.ids else prompt.length for prompt in some]


def is_packed(config: PretrainedConfig) -> bool:
    """Return whether a model with this configuration reads packed rows."""
    packed: bool = config._attn_implementation == PACKED
    return packed


def row_arguments(
    embeddings: list[Tensor], config: PretrainedConfig, prefixes: Sequence[SharedPrefix] = ()
) -> dict[str, Any]:
    """Return the arguments with which Qwen2 reads embeddings (L, C) as one row (1, N, C).

    prefixes: groups of these embeddings; if empty, each is a sequence. Position ids of each sequence start at 0.
    """
    prefixes = prefixes or [SharedPrefix(0, (len(x_LC),)) for x_LC in embeddings]
    positions_N = torch.cat([part for prefix in prefixes for part in prefix.positions()])
    return {
        "inputs_embeds": torch.cat(embeddings)[None],
        "position_ids": positions_N[None].to(embeddings[0].device),
        # Given masks, even None, keep transformers from making one of N x N for position ids that restart.
        "attention_mask": dict.fromkeys(config.layer_types),
        "row": PackedRow(prefixes, embeddings[0].device),
        "use_cache": False,
    }


class PackedRow:
    """How the positions of a row attend to each other, for all layers; computed when a layer first asks for it."""

    def __init__(self, prefixes: Sequence[SharedPrefix], device: torch.device) -> None:
        self.prefixes, self.device = prefixes, device
        self.lengths = [len(prefix) for prefix in prefixes]
        self.shares = any(prefix.shared for prefix in prefixes)

    @cached_property
    def segments(self) -> Segments:
        """For kernels of variable lengths."""
        return Segments.with_prefixes([(prefix.shared, prefix.rests) for prefix in self.prefixes], self.device)

    @cached_property
    def masks(self) -> list[Tensor | None]:
        """For devices without such a kernel: the mask of each group, None for a single sequence."""
        return [prefix.mask().to(self.device)[None, None] if prefix.shared else None for prefix in self.prefixes]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row: PackedRow | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention within each sequence of a row: (1, h, N, d) to (1, N, h, d); keys may have fewer heads.

    If `row` is None, this is transformers' `sdpa`, so that a model set to packed rows can still generate and encode
    sound. Raises ValueError for a sequence longer than the sliding window of the layer.
    """
    if row is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    window = kwargs.get("sliding_window")
    if window is not None and max(row.lengths) > window:
        raise ValueError(f"a sequence of {max(row.lengths)} exceeds the sliding window of {window}: do not pack")
    if has_kernel(query) and (row.shares or query.is_cuda):
        q_Nhd, k_Nhd, v_Nhd = (x_1hNd[0].transpose(0, 1) for x_1hNd in (query, key, value))
        return attend_segments(q_Nhd, k_Nhd, v_Nhd, row.segments, kwargs.get("scaling"))[None], None
    # One call for each group, on a CPU too: at 32 to 1024 positions eager matmuls, forward and backward, took 0.7 to 5
    # times as long. The kernel skips later positions and keeps no scores.
    parts = zip(*(x_1hNd.split(row.lengths, dim=2) for x_1hNd in (query, key, value)), strict=True)
    read = [
        sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0]
        for (q, k, v), mask in zip(parts, row.masks, strict=True)
    ]
    return torch.cat(read, dim=1), None


AttentionInterface.register(PACKED, attend)
AttentionMaskInterface.register(PACKED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
