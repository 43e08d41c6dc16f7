"""Rows that hold several sequences end to end, each read as if it were alone: training wastes nothing on padding.

In: the embeddings of the sequences. Out: what Qwen2's model takes to read them as one row. A model is made to with
`attn_implementation="packed"`, a name registered with transformers when this module is imported. Attention then runs
within each sequence: it costs the sum of their squared lengths, and no mask of the row is ever made.

Legend: N positions of a row, L of a sequence, h heads, d width of a head, C width of the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

PACKED = "packed"
"""The attention's name: `config._attn_implementation`."""


def is_packed(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration reads packed rows."""
    packed: bool = config._attn_implementation == PACKED
    return packed


def row(sequences: list[Tensor], config: PretrainedConfig) -> dict[str, Any]:
    """The arguments with which Qwen2's model reads embeddings (L, C) as one row (1, N, C), each counted from 0."""
    lengths = [len(x_LC) for x_LC in sequences]
    positions_N = torch.cat([torch.arange(length) for length in lengths])
    return {
        "inputs_embeds": torch.cat(sequences)[None],
        "position_ids": positions_N[None].to(sequences[0].device),
        # Masks that are given are not made; else transformers makes one of N x N for positions that start anew.
        "attention_mask": dict.fromkeys(config.layer_types),
        "sequence_lengths": lengths,
        "use_cache": False,
    }


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sequence_lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence of a row: (1, h, N, d) to (1, N, h, d); keys may have fewer heads.

    Without lengths it is transformers' `sdpa`, so that a model set to packed rows generates, and its encoders hear,
    as ever. ValueError of a sequence longer than the sliding window of a layer that has one.
    """
    if sequence_lengths is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    window = kwargs.get("sliding_window")
    if window is not None and max(sequence_lengths) > window:
        raise ValueError(f"a sequence of {max(sequence_lengths)} exceeds the sliding window of {window}: do not pack")
    # A call a sequence, on a CPU too: forward and backward of 32 to 1024 positions, eager matmuls took 0.7 to 5 times
    # as long there, for the kernel skips what lies ahead and keeps no scores.
    parts = zip(*(x_1hNd.split(list(sequence_lengths), dim=2) for x_1hNd in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, q, k, v, None, **kwargs)[0] for q, k, v in parts], dim=1), None


AttentionInterface.register(PACKED, attend)
AttentionMaskInterface.register(PACKED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
