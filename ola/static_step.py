"""Decode one token per row of a batch in static shapes, on CUDA as a replayed graph.

A step of a 7B decoder on an H200 takes 18 ms for Python and kernel launches, while its kernels take 7 to 13 ms.
Attention sees all columns of the cache under a mask, so that shapes do not depend on the length.

Legend: as in `ola.decoding`; G query heads to a key head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, Qwen2ForCausalLM
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from ola.sampling import precise_logits

GROUPED = "grouped"
"""Name of the attention in `config._attn_implementation`."""
WORTH = 4  # least steps for which a graph is captured: capturing takes about as long as two steps


class CacheLayer(DynamicLayer):
    """A layer of the KV cache in static buffers. A cache that grows by a token would be copied at each step."""

    keys: Tensor
    values: Tensor

    def __init__(self, rows: int, columns: int, like_bhWd: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = like_bhWd.dtype, like_bhWd.device, True
        # Zeros, because masked values are still multiplied, and a NaN in uninitialised memory would spread.
        shape = (rows, like_bhWd.shape[1], columns, like_bhWd.shape[3])
        self.buffers = [like_bhWd.new_zeros(shape) for _ in range(2)]
        self.column_1: Tensor | None = None

    def fill(self, rows_b: Tensor, *parts: Tensor) -> None:
        """Store the keys and values (b, h, W, d) of the prompts of these rows."""
        for buffer, part_bhWd in zip(self.buffers, parts, strict=True):
            buffer[:, :, : part_bhWd.shape[2]].index_copy_(0, rows_b, part_bhWd)

    def show(self, columns: int) -> None:
        """Make the first columns visible to attention."""
        self.keys, self.values = (buffer[:, :, :columns] for buffer in self.buffers)

    def fix(self, column_1: Tensor) -> None:
        """Make all columns visible, and have `update` write to the column whose index is in `column_1`."""
        self.column_1 = column_1
        self.show(self.buffers[0].shape[2])

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.column_1 is not None:
            self.keys.index_copy_(2, self.column_1, key_states)
            self.values.index_copy_(2, self.column_1, value_states)
            return self.keys, self.values
        column = self.keys.shape[2]
        self.show(column + 1)
        self.keys[:, :, column:], self.values[:, :, column:] = key_states, value_states
        return self.keys, self.values

    def keep(self, rows_B: Tensor, width: int, old_width: int) -> None:
        """Drop other rows, and the prompts' columns from `width` on."""
        columns = self.keys.shape[2] - old_width + width
        parts = ((buffer[rows_B, :, :width], buffer[rows_B, :, old_width:]) for buffer in self.buffers)
        self.buffers = [torch.cat(part, dim=2) for part in parts]
        self.show(columns)


class StaticStep:
    """Decodes one token per row with caches of K columns; later columns are masked."""

    def __init__(
        self, model: Qwen2ForCausalLM, layers: Sequence[CacheLayer], open_BK: Tensor, lengths_B1: Tensor, left: int
    ) -> None:
        """open_BK: the columns that each row sees so far. lengths_B1: of the prompts. left: maximum number of steps."""
        self.model, self.layers, self.lengths_B1 = model, layers, lengths_B1
        self.mask_B11K = additive(open_BK, model.dtype)
        self.ids_B1, self.positions_B1 = torch.zeros_like(lengths_B1), torch.zeros_like(lengths_B1)
        self.column_1 = torch.zeros(1, dtype=torch.long, device=open_BK.device)
        for layer in layers:
            layer.fix(self.column_1)
        self.is_captured = open_BK.device.type == "cuda" and left >= WORTH
        self.is_warm = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, chosen_B: Tensor, position: int, column: int) -> Tensor:
        """Return logits (B, V) after `chosen_B`, valid until the next call. position: counted from the prompt's end."""
        self.ids_B1.copy_(chosen_B[:, None])
        torch.add(self.lengths_B1, position, out=self.positions_B1)
        self.column_1.fill_(column)
        self.mask_B11K[..., column] = 0
        if not (self.is_captured and self.is_warm):
            self.is_warm = True
            return self._run()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.logits_BV = self._run()
        self.graph.replay()
        return self.logits_BV

    def _run(self) -> Tensor:
        hidden_B1C = self.model.model(
            input_ids=self.ids_B1,
            attention_mask=self.mask_B11K,
            position_ids=self.positions_B1,
            past_key_values=Cache(layers=[*self.layers]),
        ).last_hidden_state
        return precise_logits(self.model.lm_head, hidden_B1C[:, 0])


def additive(open_BK: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive attention mask (B, 1, 1, K), which is 0 for open columns."""
    closed_BK = torch.zeros_like(open_BK, dtype=dtype).masked_fill(~open_BK, torch.finfo(dtype).min)
    return closed_BK[:, None, None]


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Compute transformers' `sdpa`; for a single token, the G query heads of a key head become G queries.

    This avoids repeating keys and values per query head, as transformers before 5.23 does under a mask: 139 ms per step
    against 16 ms on an H200 (128 rows of 2,176 columns).
    """
    rows, heads, queries, _ = query.shape
    if queries > 1 or attention_mask is None or attention_mask.shape[1] > 1:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    query_BhGd = query.view(rows, key.shape[1], heads // key.shape[1], -1)
    read_BhGd = scaled_dot_product_attention(
        query_BhGd, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling")
    )
    return read_BhGd.reshape(rows, 1, heads, -1), None


AttentionInterface.register(GROUPED, attend)
AttentionMaskInterface.register(GROUPED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
