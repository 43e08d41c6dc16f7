"""Rows that hold several sequences end to end, each read as if it were alone: training wastes nothing on padding.

In: prompts whose media are encoded. Out: what Qwen2's model takes to read them as one row. A model is made to with
`attn_implementation="packed"`, a name registered with transformers when this module is imported. Attention then runs
within each sequence: it costs the sum of their squared lengths, and no mask of the row is ever made.

Neighbours that begin alike, as tasks of one video do, are a `SharedPrefix`: what they share lies in the row once. Each
still reads what it would read alone, so that losses and gradients stay what they were.

Legend: N positions of a row, L of a sequence or a bunch, h heads, d width of a head, C width of the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from ola.prompt import Prompt

PACKED = "packed"
"""The attention's name: `config._attn_implementation`."""
ALIKE = 0.5  # of the longest of a bunch: where less is shared, attention under a mask costs more than it saves


@dataclass(frozen=True)
class SharedPrefix:
    """Sequences in a row: first the positions that they share, then those of each alone. One alone shares nothing."""

    shared: int
    rests: tuple[int, ...]

    def __len__(self) -> int:
        return self.shared + sum(self.rests)

    def positions(self) -> Iterator[Tensor]:
        """Of what is shared, then of each rest, which goes on where that ends."""
        yield torch.arange(self.shared)
        yield from (torch.arange(self.shared, self.shared + rest) for rest in self.rests)

    def places(self) -> list[Tensor]:
        """Where the positions of each sequence lie in the bunch."""
        starts = accumulate(self.rests, initial=self.shared)
        shared = torch.arange(self.shared)
        return [torch.cat([shared, torch.arange(at, at + n)]) for at, n in zip(starts, self.rests, strict=False)]

    def mask(self) -> Tensor:
        """(L, L), whether the position of a row may look at that of a column: at what is shared, and at its own."""
        owners = torch.arange(len(self.rests)).repeat_interleave(torch.tensor(self.rests))
        owner_L = torch.cat([torch.full((self.shared,), -1), owners])
        seen = (owner_L[:, None] == owner_L) | (owner_L == -1)
        return seen.tril()


@dataclass(frozen=True)
class PrefixGroup:
    """Prompts `first` to `end` (without it) whose first `ids` tokens are the same, with all of their media."""

    first: int
    end: int
    ids: int


def bunched(prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[PrefixGroup]:
    """Neighbours that begin alike, together. lengths: of the prompts, media and all.

    Media are the same whose digests are, unless these are empty.
    """
    found = [PrefixGroup(0, 1, 0)]
    for n in range(1, len(prompts)):
        last = found[-1]
        first, ids = prompts[last.first], _begin_alike(prompts[last.first], prompts[n])
        ids = min(ids, last.ids or ids)
        shared = lengths[last.first] - len(first.input_ids) + ids
        if ids and shared >= ALIKE * max(lengths[last.first : n + 1]):
            found[-1] = PrefixGroup(last.first, n + 1, ids)
        else:
            found.append(PrefixGroup(n, n + 1, 0))
    return found


def _begin_alike(one: Prompt, other: Prompt) -> int:
    """How many tokens two prompts begin with, all media among them; each keeps a token of its own."""
    digests = [[medium.digest for medium in each.media] for each in (one, other)]
    if digests[0] != digests[1] or "" in digests[0]:
        return 0
    most = min(len(one.input_ids), len(other.input_ids)) - 1
    ids = int((one.input_ids[:most] == other.input_ids[:most]).cumprod(0).sum())
    return ids if int((one.input_ids[:ids] < 0).sum()) >= len(one.media) else 0


def pieces(prompts: Sequence[Prompt]) -> Iterator[int]:
    """The positions that are read of prompts in a row: what a bunch shares, and the rest of each prompt."""
    for alike in bunched(prompts, [prompt.length for prompt in prompts]):
        some = prompts[alike.first : alike.end]
        yield from [some[0].length - len(some[0].input_ids) + alike.ids] if alike.ids else []
        yield from [len(prompt.input_ids) - alike.ids if alike.ids else prompt.length for prompt in some]


def is_packed(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration reads packed rows."""
    packed: bool = config._attn_implementation == PACKED
    return packed


def row(pieces: list[Tensor], config: PretrainedConfig, bunches: Sequence[SharedPrefix] = ()) -> dict[str, Any]:
    """The arguments with which Qwen2's model reads embeddings (L, C) as one row (1, N, C).

    bunches: of these pieces; without, each piece is a sequence. Each sequence is counted from 0.
    """
    bunches = bunches or [SharedPrefix(0, (len(x_LC),)) for x_LC in pieces]
    positions_N = torch.cat([part for bunch in bunches for part in bunch.positions()])
    return {
        "inputs_embeds": torch.cat(pieces)[None],
        "position_ids": positions_N[None].to(pieces[0].device),
        # Masks that are given are not made; else transformers makes one of N x N for positions that start anew.
        "attention_mask": dict.fromkeys(config.layer_types),
        "bunches": [(len(bunch), bunch.mask().to(pieces[0].device) if bunch.shared else None) for bunch in bunches],
        "use_cache": False,
    }


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    bunches: Sequence[tuple[int, Tensor | None]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence of a row: (1, h, N, d) to (1, N, h, d); keys may have fewer heads.

    bunches: the length of each, and its mask if it is of several sequences. Without them it is transformers' `sdpa`, so
    that a model set to packed rows generates, and its encoders hear, as ever. ValueError of a sequence longer than the
    sliding window of a layer that has one.
    """
    if bunches is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    lengths, window = [length for length, _ in bunches], kwargs.get("sliding_window")
    if window is not None and max(lengths) > window:
        raise ValueError(f"a sequence of {max(lengths)} exceeds the sliding window of {window}: do not pack")
    # A call a bunch, on a CPU too: forward and backward of 32 to 1024 positions, eager matmuls took 0.7 to 5 times
    # as long there, for the kernel skips what lies ahead and keeps no scores.
    parts = zip(*(x_1hNd.split(lengths, dim=2) for x_1hNd in (query, key, value)), strict=True)
    masks = [None if mask_LL is None else mask_LL[None, None] for _, mask_LL in bunches]
    read = [
        sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0] for (q, k, v), mask in zip(parts, masks, strict=True)
    ]
    return torch.cat(read, dim=1), None


AttentionInterface.register(PACKED, attend)
AttentionMaskInterface.register(PACKED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
