"""Compute the memory that Ola takes on a GPU, from the headers of its weight files.

In: a model's folder and the dtype that it is loaded as. Out: bytes of its weights and of the caches for one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.annotation.annotator_settings import VLLM_SHARE

OVERHEAD = 2 * 10**9  # bytes: CUDA's context and the activations of a pass over 16,384 tokens at 7B sizes


@dataclass(frozen=True)
class ModelSizes:
    """A model's bytes on a GPU. decoder: the decoder's part of the weights. cache: keys and values of one batch.

    context: keys and values of the longest prompt. embeddings: of cached media, and of one window.
    """

    weights: int
    decoder: int
    cache: int
    context: int
    embeddings: int

    @property
    def total(self) -> int:
        """Return the bytes with torch's decoder."""
        return self.weights + self.cache + self.embeddings + OVERHEAD

    @property
    def total_on_vllm(self) -> int:
        """Return the bytes with vLLM: its share must hold the decoder and one longest prompt, the rest all else."""
        beside = self.weights - self.decoder + self.embeddings + OVERHEAD
        return round(max((self.decoder + self.context) / VLLM_SHARE, beside / (1 - VLLM_SHARE)))

    def __str__(self) -> str:
        """Return the size of the weights as text."""
        return f"{self.weights / 1e9:.1f} GB of weights, the rest cache"


def model_sizes(folder: Path, dtype: str) -> ModelSizes:
    """Return the bytes that a model takes when it is loaded as `dtype`.

    Raises BadCheckpoint or OSError if the folder holds no complete model.
    """
    from ola.batching import position_bytes
    from ola.decoding import PREFIX_TOKENS, TOKEN_BUDGET
    from ola.export import DECODER
    from ola.generation import CACHE_TOKENS, WINDOW_TOKENS
    from ola.model import OlaForConditionalGeneration
    from ola.weights import config_of, dtypes_of, prepare_checked

    loading = prepare_checked(OlaForConditionalGeneration, folder, config_of(folder))
    config = loading.model.config
    kinds = dtypes_of(loading, dtype, "cuda")
    sizes = {name: each.numel() * kinds[name].itemsize for name, each in loading.model.named_parameters()}
    item = kinds["model.embed_tokens.weight"].itemsize
    position = position_bytes(config, kinds["model.embed_tokens.weight"])
    return ModelSizes(
        weights=sum(sizes.values()),
        decoder=sum(size for name, size in sizes.items() if name.startswith(DECODER)),
        cache=(TOKEN_BUDGET + PREFIX_TOKENS) * position,
        context=config.tokenizer_model_max_length * position,
        embeddings=(CACHE_TOKENS + WINDOW_TOKENS) * config.hidden_size * item,
    )
