"""A tiny Ola of random weights, for tests that need no network."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ola.config import OlaConfig
from ola.model import OlaForConditionalGeneration

RELEASED_DECODER: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
}
"""Qwen2.5-7B."""

# How Qwen2 cuts text before its merges; several newlines in a row are one piece.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MERGES = [("Ċ", "Ċ"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("a", "n"), ("e", "r"), ("Ġ", "a")]


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in Qwen2's manner: 256 bytes, a few merges ("\\n\\n" among them), and its control tokens."""
    words = sorted(pre_tokenizers.ByteLevel.alphabet()) + [left + right for left, right in MERGES]
    made = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=MERGES))
    made.normalizer = normalizers.NFC()
    cut = pre_tokenizers.Split(Regex(PIECES), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def config(**changes: Any) -> OlaConfig:
    """Sizes of a model of half a million parameters whose chunks of sound last two seconds."""
    sizes: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tokenizer_model_max_length": 4096,
        "rope_theta": 1e4,
        "audio_chunk_seconds": 2,
        "speech_projector_size": 96,
        "vision": {
            "hidden_size": 32,
            "intermediate_size": 80,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 256,
        },
        "whisper": {
            "num_mel_bins": 128,
            "d_model": 24,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 96,
        },
        "beats": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "embed_dim": 16,
            "conv_pos": 16,
            "conv_pos_groups": 4,
            "num_classes": 7,
        },
    }
    return OlaConfig(**sizes | changes)


def model(seed: int = 0, **changes: Any) -> OlaForConditionalGeneration:
    """Random weights, in evaluation mode; wide enough apart that greedy answers do not just repeat."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = OlaForConditionalGeneration(config(**{"initializer_range": 0.2} | changes))
    made.eval()
    return made
