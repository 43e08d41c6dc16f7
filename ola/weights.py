"""Reading checkpoints: which tensor of a file becomes which tensor of the model.

In: a folder in this project's layout, or in that of the released Ola weights (sharded safetensors; the audio encoders
among them, or as `.pt` files beside them). Out: a model with every tensor filled, or one `BadCheckpoint` that names all
that is missing, unexpected or mis-shaped, before a byte of weights is read. Each tensor is read straight to where it
stays, so that loading needs little more memory than the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ola.checkpoint import BadCheckpoint, Stored, pickled_tensors, safetensors_of
from ola.config import OlaConfig

Model = TypeVar("Model", bound=PreTrainedModel)

VIT = "model.vision_tower.vision_tower."
WHISPER = "model.speech_encoder.whisper_model."
BEATS = "model.speech_encoder.beats_model."

# Our names to those of the released weights, by longest prefix; # is the number of a layer.
NAMES = {
    "model.": "model.",
    "lm_head.": "lm_head.",
    "vision_tower.pos_embed": VIT + "pos_embed",
    "vision_tower.patch_embed.": VIT + "patch_embed.proj.",
    "vision_tower.layers.#.layer_norm1.": VIT + "blocks.#.norm1.",
    "vision_tower.layers.#.self_attn.q_proj.": VIT + "blocks.#.attn.qkv.",
    "vision_tower.layers.#.self_attn.k_proj.": VIT + "blocks.#.attn.qkv.",
    "vision_tower.layers.#.self_attn.v_proj.": VIT + "blocks.#.attn.qkv.",
    "vision_tower.layers.#.self_attn.out_proj.": VIT + "blocks.#.attn.proj.",
    "vision_tower.layers.#.layer_norm2.": VIT + "blocks.#.norm2.",
    "vision_tower.layers.#.mlp.": VIT + "blocks.#.mlp.",
    "visual_projector.": "model.mm_projector.",
    "speech_projector.": "model.speech_projector.",
    "speech_encoder.whisper.conv1.": WHISPER + "conv1.",
    "speech_encoder.whisper.conv2.": WHISPER + "conv2.",
    "speech_encoder.whisper.embed_positions.weight": WHISPER + "positional_embedding",
    "speech_encoder.whisper.layers.#.self_attn.q_proj.": WHISPER + "blocks.#.attn.query.",
    "speech_encoder.whisper.layers.#.self_attn.k_proj.": WHISPER + "blocks.#.attn.key.",
    "speech_encoder.whisper.layers.#.self_attn.v_proj.": WHISPER + "blocks.#.attn.value.",
    "speech_encoder.whisper.layers.#.self_attn.out_proj.": WHISPER + "blocks.#.attn.out.",
    "speech_encoder.whisper.layers.#.self_attn_layer_norm.": WHISPER + "blocks.#.attn_ln.",
    "speech_encoder.whisper.layers.#.fc1.": WHISPER + "blocks.#.mlp.0.",
    "speech_encoder.whisper.layers.#.fc2.": WHISPER + "blocks.#.mlp.2.",
    "speech_encoder.whisper.layers.#.final_layer_norm.": WHISPER + "blocks.#.mlp_ln.",
    "speech_encoder.whisper.layer_norm.": WHISPER + "ln_post.",
    "speech_encoder.beats.patch_embed.": BEATS + "patch_embedding.",
    "speech_encoder.beats.patch_norm.": BEATS + "layer_norm.",
    "speech_encoder.beats.patch_proj.": BEATS + "post_extract_proj.",
    "speech_encoder.beats.pos_conv.weight": BEATS + "encoder.pos_conv.0.weight_v",
    "speech_encoder.beats.pos_conv.bias": BEATS + "encoder.pos_conv.0.bias",
    "speech_encoder.beats.norm.": BEATS + "encoder.layer_norm.",
    "speech_encoder.beats.relative_attention_bias.": BEATS + "encoder.layers.0.self_attn.relative_attention_bias.",
    "speech_encoder.beats.layers.#.": BEATS + "encoder.layers.#.",
    "speech_encoder.beats.predictor.": BEATS + "predictor.",
}
# One table, which the released weights repeat in each layer.
SHARED = re.compile(re.escape(BEATS) + r"encoder\.layers\.[1-9]\d*\.self_attn\.relative_attention_bias\.weight")


def released_name(name: str) -> str:
    """Where the released weights keep our tensor `name`; of q, k and v it is the one tensor that holds all three."""
    layer = re.search(r"(?<=\.)\d+(?=\.)", name)
    general = name if layer is None else name[: layer.start()] + "#" + name[layer.end() :]
    prefix = max((prefix for prefix in NAMES if general.startswith(prefix)), key=len)
    found = NAMES[prefix] + general.removeprefix(prefix)
    return found if layer is None else found.replace("#", layer[0], 1)
