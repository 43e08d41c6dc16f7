"""Compute the memory that Ola takes on a GPU, from the headers of its weight files.

In: a model's folder and the dtype that it is loaded as. Out: bytes of its weights, caches and activations, as
`ola.memory` reckons them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.annotation.annotator_settings import VLLM_SHARE
from pipeline.errors import ConfigError

OUTSIDE = 10**9  # bytes: CUDA's context and the workspaces of its libraries
GRAPHS = 10**9  # bytes: CUDA graphs of vLLM


@dataclass(frozen=True)
class ModelSizes:
    """A model's bytes on a GPU. decoder: the decoder's part of the weights. cache: keys and values of one batch.

    context: keys and values of the longest prompt. position: keys and values of one position. encoding: embeddings and
    the encoders' activations. reading: activations of one pass of torch's decoder. engine: what vLLM takes beside its
    weights and cache, and the second copy of the token embeddings.
    """

    weights: int
    decoder: int
    cache: int
    context: int
    position: int
    encoding: int
    reading: int
    engine: int

    @property
    def total(self) -> int:
        """Return the bytes with torch's decoder."""
        return self.weights + self.cache + self.encoding + self.reading + OUTSIDE

    @property
    def total_on_vllm(self) -> int:
        """Return the bytes with vLLM on a whole GPU: its share holds the decoder and one longest prompt."""
        within = self.decoder + self.engine + GRAPHS + self.context
        beside = self.weights - self.decoder + self.encoding + OUTSIDE
        return round(max(within / VLLM_SHARE, beside / (1 - VLLM_SHARE)))

    def vllm_cache(self, room: float) -> int:
        """Return the bytes of vLLM's cache where its worker has `room` bytes of a GPU that others share."""
        return int(room) - self.weights - self.encoding - self.engine - GRAPHS - OUTSIDE

    def vllm_fault(self, share: float, memory: int) -> str:
        """Return why engines with this share of a GPU of `memory` bytes do not fit, with all numbers; "" if they do."""
        if self.vllm_cache(share * memory) >= self.context:
            return ""
        return f"{self.vllm_room(share, memory)}, and {self.context / 1e9:.1f} GB for the longest prompt"

    def vllm_room(self, share: float, memory: int) -> str:
        """Return in words what each engine with this share of a GPU of `memory` bytes has and needs."""
        room = share * memory
        return (
            f"{math.floor(1 / share)} vLLM engines on a GPU of {memory / 1e9:.1f} GB: each has {room / 1e9:.1f} GB and "
            f"needs {(room - self.vllm_cache(room)) / 1e9:.1f} GB beside its cache "
            f"({self.weights / 1e9:.1f} GB of weights, encoders included)"
        )

    def __str__(self) -> str:
        """Return the size of the weights as text."""
        return f"{self.weights / 1e9:.1f} GB of weights, the rest cache and activations"


def model_sizes(folder: Path, dtype: str) -> ModelSizes:
    """Return the bytes that a model takes when it is loaded as `dtype`.

    Raises BadCheckpoint or OSError if the folder holds no complete model.
    """
    from ola import memory
    from ola.decoding import PREFIX_TOKENS, TOKEN_BUDGET
    from ola.export import DECODER
    from ola.model import OlaForConditionalGeneration
    from ola.vllm_decoder import PASS_POSITIONS, ROWS
    from ola.weights import config_of, dtypes_of, prepare_checked

    loading = prepare_checked(OlaForConditionalGeneration, folder, config_of(folder))
    config = loading.model.config
    kinds = dtypes_of(loading, dtype, "cuda")
    sizes = {name: each.numel() * kinds[name].itemsize for name, each in loading.model.named_parameters()}
    kind = kinds["model.embed_tokens.weight"]
    position = memory.position_bytes(config, kind)
    return ModelSizes(
        weights=sum(sizes.values()),
        decoder=sum(size for name, size in sizes.items() if name.startswith(DECODER)),
        cache=(TOKEN_BUDGET + PREFIX_TOKENS) * position,
        context=config.tokenizer_model_max_length * position,
        position=position,
        encoding=memory.encoding_bytes(config, kind),
        reading=memory.working_bytes(config, kind) - memory.encoding_bytes(config, kind),
        engine=memory.engine_bytes(config, kind, ROWS, PASS_POSITIONS) + sizes["model.embed_tokens.weight"],
    )


def vllm_memory(folder: Path, dtype: str, share: float, device: str) -> dict[str, Any]:
    """Return the arguments of `VllmDecoder` for the memory of a worker's GPU. share: of it; 1 for a whole GPU or a CPU.

    Engines that share a GPU get a cache of reckoned size. Raises ConfigError if there is no room for one.
    """
    if share >= 1:
        return {"share": VLLM_SHARE}
    import torch

    sizes, (_free, memory) = model_sizes(folder, dtype), torch.cuda.mem_get_info(device)
    if fault := sizes.vllm_fault(share, memory):
        raise ConfigError(f"annotator.gpus: expected room for vLLM, got {share:g} ({fault}); set annotator.gpus=1")
    cache = sizes.vllm_cache(share * memory)
    return {"share": (sizes.decoder + sizes.engine + GRAPHS + cache) / memory, "cache_bytes": cache}
