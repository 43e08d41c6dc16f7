"""Split work into batches that fit in memory, and compute how many cache positions fit on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import Qwen2ForCausalLM


def free_positions(model: Qwen2ForCausalLM) -> int:
    """Return how many KV cache positions fit in the free memory of the model's GPU; 0 on other devices.

    On a GPU that processes share, only the free part of this process's memory fraction counts.
    """
    if model.device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(model.device)
    left = torch.cuda.get_per_process_memory_fraction(model.device) * total - torch.cuda.memory_reserved(model.device)
    return int(min(free, left) // position_bytes(model.config, model.dtype))


def position_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return the bytes of keys and values per position over all layers: 57,344 at 7B sizes in bfloat16."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * config.num_key_value_heads * width * dtype.itemsize)


def runs(count: int, fits: Callable[[int, int], bool]) -> Iterator[slice]:
    """Yield slices of `count` items: the longest runs for which fits(start, end); an item that never fits is alone."""
    start = 0
    for end in range(1, count + 1):
        if end == count or not fits(start, end + 1):
            yield slice(start, end)
            start = end
