"""A model of random weights for steps whose answers do not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def make_model(folder: Path) -> None:
    """An Ola of half a million random weights, whose tokens are single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from ola.config import OlaConfig
    from ola.model import OlaForConditionalGeneration
    from ola.processor import OlaProcessor

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    few: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = OlaConfig(
        **few,
        vocab_size=512,
        num_key_value_heads=2,
        max_position_embeddings=16384,
        speech_projector_size=64,
        vision={**few, "image_size": 256},
        whisper={"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64},
        beats={**few, "embed_dim": 16, "conv_pos": 16, "conv_pos_groups": 4, "num_classes": 2},
    )
    torch.manual_seed(0)
    OlaForConditionalGeneration(config).save_pretrained(folder)
    words: Any = PreTrainedTokenizerFast
    OlaProcessor(words(tokenizer_object=tokenizer), config).save_pretrained(folder)
