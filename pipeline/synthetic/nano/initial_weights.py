"""Define the sizes and the initial weights of ola-nano before any training.

Hugging Face's standard deviation of 0.02 fits widths of thousands; at a width of 192 activations would vanish. Here
each layer keeps the variance of its input, layers that add to a residual stream start small, and attention starts as
copying: queries resemble keys and outputs resemble values (mimetic initialisation, arXiv 2305.09828).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.synthetic.nano.tokenizer import MAX_TOKENS, SPECIAL, build_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ola.config import OlaConfig
    from ola.model import OlaForConditionalGeneration

VOCABULARY_MULTIPLE = 16  # the size of the embedding is rounded up to a multiple of it
RESIDUAL = ("o_proj", "out_proj", "down_proj", "fc2")  # layers that add to a residual stream
RESIDUAL_SCALE = 0.4  # scale of their initial weights
QUERY_KEY_SCALE = 0.7  # share of the key's weights in its query
VALUE_SCALE, OUTPUT_SCALE = 0.4, 0.3  # shares in an output: of its value's weights, and random
EMBEDDING_STD = 0.5  # standard deviation of embeddings and of border vectors
# Of the embeddings of rows and columns in the vision tower. With 0.3 and separate embeddings of all positions the
# tower never learned positions.
POSITION_STD = 0.7
RELATIVE_STD = 0.02  # of the relative positions of BEATs, which are added to attention scores


def nano_config() -> OlaConfig:
    """Return the configuration of ola-nano. A frame of the world takes 3x3 tokens, 4 s of sound take 20."""
    from ola.config import OlaConfig

    words = build_tokenizer()
    start, end, pad = (int(words.convert_tokens_to_ids(name)) for name in SPECIAL)  # type: ignore[arg-type]
    decoder: dict[str, Any] = {
        **_sizes(192, 6, 6, 512),
        "num_key_value_heads": 2,
        "vocab_size": -(-len(words) // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE,
        "max_position_embeddings": MAX_TOKENS,
        "tie_word_embeddings": False,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": pad,
    }
    return OlaConfig(
        **decoder,
        vision={**_sizes(128, 4, 4, 512), "patch_size": 16, "image_size": 96},
        whisper={
            "d_model": 128,
            "encoder_layers": 3,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 512,
            "num_mel_bins": 80,
        },
        beats={**_sizes(96, 2, 4, 384), "embed_dim": 64, "conv_pos": 16, "conv_pos_groups": 4, "num_classes": 2},
        speech_projector_size=384,
        audio_chunk_seconds=4,
        max_frames=8,
        tokenizer_model_max_length=MAX_TOKENS,
        limits={"image_high": 96, "image_low": 64, "video_max": 96, "video_min": 96},
    )


def _sizes(hidden: int, layers: int, heads: int, forward: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": forward,
    }


def initial_model(seed: int) -> OlaForConditionalGeneration:
    """Return ola-nano with initial weights of a seed, float32, in evaluation mode."""
    import torch

    from ola.model import OlaForConditionalGeneration

    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # Ola's own initialisation must not advance the global generator
        model = OlaForConditionalGeneration(nano_config())
    with torch.no_grad():
        for name, module in model.named_modules():
            _draw_weights(name.rpartition(".")[2], module, rng)
        for vector in _border_vectors(model):
            vector.normal_(0, EMBEDDING_STD, generator=rng)
        _set_positions(model.vision_tower.pos_embed, rng)
        for layer in model.model.layers:
            _initialise_attention(layer.self_attn)
    model.train(False)
    return model


def count_parameters(model: OlaForConditionalGeneration) -> dict[str, int]:
    """Count the parameters of each part of the model."""
    parts = {
        "decoder": (model.model, model.lm_head),
        "vision": (model.vision_tower,),
        "whisper": (model.speech_encoder.whisper,),
        "beats": (model.speech_encoder.beats,),
        "projectors": (model.visual_projector, model.speech_projector),
    }
    return {name: sum(p.numel() for module in modules for p in module.parameters()) for name, modules in parts.items()}


def _draw_weights(name: str, module: nn.Module, rng: torch.Generator) -> None:
    """Draw the weights of a module itself; norms and Whisper's sinusoids keep theirs."""
    from torch import nn

    from ola.beats import RelativePositions

    if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        deviation = (RESIDUAL_SCALE if name in RESIDUAL else 1.0) * module.weight[0].numel() ** -0.5
        module.weight.normal_(0, deviation, generator=rng)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.Embedding) and module.weight.requires_grad:
        deviation = RELATIVE_STD if isinstance(module, RelativePositions) else EMBEDDING_STD
        module.weight.normal_(0, deviation, generator=rng)


def _border_vectors(model: OlaForConditionalGeneration) -> Iterator[torch.Tensor]:
    for projector in (model.visual_projector, model.speech_projector):
        yield from (parameter for _, parameter in projector.named_parameters(recurse=False))


def _set_positions(positions_1PD: torch.Tensor, rng: torch.Generator) -> None:
    """Set the position embedding of a patch to the sum of a row's and a column's random embedding."""
    import torch

    side, width = math.isqrt(positions_1PD.shape[1]), positions_1PD.shape[2]
    rows, columns = (POSITION_STD * torch.randn(side, width, generator=rng) for _ in range(2))
    positions_1PD.copy_((rows[:, None] + columns).flatten(0, 1)[None])


def _initialise_attention(attention: Any) -> None:
    """Make the first query of each group resemble its key, and the outputs of a group resemble its value."""
    width, groups = attention.head_dim, attention.k_proj.weight.shape[0] // attention.head_dim
    queries = attention.q_proj.weight.view(groups, -1, width, attention.q_proj.in_features)
    keys = attention.k_proj.weight.view(groups, width, -1)
    values = attention.v_proj.weight.view(groups, width, -1)
    outputs = attention.o_proj.weight.view(attention.o_proj.out_features, groups, -1, width)
    queries[:, 0] = QUERY_KEY_SCALE * keys
    outputs.mul_(OUTPUT_SCALE / RESIDUAL_SCALE).add_(VALUE_SCALE * values.permute(2, 0, 1)[:, :, None])
