"""How much is computed at once: runs of things that fit, and what the memory of a GPU has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import Qwen2ForCausalLM


def free_positions(model: Qwen2ForCausalLM) -> int:
    """Positions of the cache of keys and values that fit into the free memory of the model's GPU; 0 elsewhere.

    Of a GPU that processes share, what is left of this process's fraction counts, as torch was told it.
    """
    if model.device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(model.device)
    left = torch.cuda.get_per_process_memory_fraction(model.device) * total - torch.cuda.memory_reserved(model.device)
    return int(min(free, left) // position_bytes(model.config, model.dtype))


def position_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of keys and values that one position takes in all layers: 57,344 at 7B sizes in bfloat16."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * config.num_key_value_heads * width * dtype.itemsize)


def runs(count: int, fits: Callable[[int, int], bool]) -> Iterator[slice]:
    """`count` things in a row cut into the longest runs that fit (start, end); one that never fits is a run alone."""
    start = 0
    for end in range(1, count + 1):
        if end == count or not fits(start, end + 1):
            yield slice(start, end)
            start = end
