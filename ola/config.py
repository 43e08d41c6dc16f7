"""The configuration of the model.

In: `config.json` of this project or of the released weights. Out: one object for the towers, the processor and the
loader. The released file has no sizes of its towers, so the defaults here are the released sizes. Its `mm_*` and
`speech_*` keys become plain attributes.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, cast

from transformers import AutoConfig, PretrainedConfig, Qwen2Config, SiglipVisionConfig, WhisperConfig

from ola.geometry import Limits
from ola.tokenizer_files import IS_OLD

# OryxViT: SigLIP-400M at patch 16 with a 128x128 grid of positions, resized to each image.
VISION: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 16,
    "image_size": 2048,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
# The encoder of Whisper large-v3.
WHISPER: dict[str, Any] = {
    "num_mel_bins": 128,
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
}
AUDIO_FRAMES_PER_S = 50

Config = TypeVar("Config", bound=PretrainedConfig)


class BeatsConfig(PretrainedConfig):
    """Sizes of BEATs, the encoder of sounds that are not speech; defaults of iter3+ AS2M finetuned on AS2M, cpt2."""

    model_type = "beats"

    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        embed_dim: int = 512,
        patch_size: int = 16,
        num_mel_bins: int = 128,
        conv_pos: int = 128,
        conv_pos_groups: int = 16,
        num_buckets: int = 320,
        max_distance: int = 800,
        num_classes: int = 527,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.embed_dim = embed_dim
        self.patch_size = patch_size
        self.num_mel_bins = num_mel_bins
        self.conv_pos = conv_pos
        self.conv_pos_groups = conv_pos_groups
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.num_classes = num_classes


def _make_config(kind: type[Config], given: Config | dict[str, Any] | None, defaults: dict[str, Any]) -> Config:
    return given if isinstance(given, kind) else kind(**defaults | dict(given or {}))


def _rename_rotary_settings(given: dict[str, Any]) -> dict[str, Any]:
    """Convert the settings of rotary positions for the installed transformers: 5 has one entry, 4.57 has two."""
    if not IS_OLD or not isinstance(given.get("rope_parameters"), dict):
        return given
    rope = dict(given["rope_parameters"])
    theta = {"rope_theta": rope.pop("rope_theta")} if "rope_theta" in rope else {}
    scaling = {} if rope.get("rope_type", "default") == "default" else {"rope_scaling": rope}
    return {name: value for name, value in given.items() if name != "rope_parameters"} | theta | scaling


class OlaConfig(Qwen2Config):
    """Sizes of the decoder (by Qwen2's names), the towers, the projectors and the inputs.

    has_speech: False for Ola-Image and Ola-Video, which have no audio encoders; the default is whether the file has a
    `speech_encoder`. speech_encoder_ds_rate: encoder frames per token. tokenizer_model_max_length: longest training
    sequence, and longest prompt with its answer. limits: fields of `Limits` that differ from its defaults.
    """

    model_type = "ola_qwen"
    sub_configs: ClassVar[dict[str, type[PretrainedConfig]]] = {
        "vision": SiglipVisionConfig,
        "whisper": WhisperConfig,
        "beats": BeatsConfig,
    }

    def __init__(
        self,
        vision: dict[str, Any] | SiglipVisionConfig | None = None,
        whisper: dict[str, Any] | WhisperConfig | None = None,
        beats: dict[str, Any] | BeatsConfig | None = None,
        has_speech: bool | None = None,
        pool: int = 2,
        speech_encoder_ds_rate: int = 10,
        speech_projector_size: int = 2048,
        audio_chunk_seconds: int = 30,
        max_frames: int = 64,
        tokenizer_model_max_length: int = 16384,
        limits: dict[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        released = "mm_vision_tower" in kwargs
        self.has_speech = has_speech if has_speech is not None else not released or bool(kwargs.get("speech_encoder"))
        self.vision = _make_config(SiglipVisionConfig, vision, VISION)
        self.whisper = _make_config(WhisperConfig, whisper, WHISPER)
        self.whisper.max_source_positions = AUDIO_FRAMES_PER_S * audio_chunk_seconds
        self.beats = _make_config(BeatsConfig, beats, {})
        self.pool = pool
        self.speech_encoder_ds_rate = speech_encoder_ds_rate
        self.speech_projector_size = speech_projector_size
        self.audio_chunk_seconds = audio_chunk_seconds
        self.max_frames = max_frames
        self.tokenizer_model_max_length = tokenizer_model_max_length
        self.limits = limits or {}
        super().__init__(**_rename_rotary_settings(kwargs))

    @property
    def cell(self) -> int:
        """Return the pixels per side of the square that becomes one token."""
        return cast("int", self.vision.patch_size) * self.pool

    @property
    def fits(self) -> Limits:
        """Return the pixel sizes that the model accepts."""
        return Limits(**{"cell": self.cell} | self.limits)

    @property
    def speech_chunk_tokens(self) -> int:
        """Return the tokens of one chunk of sound: its stacked frames and a newline; 151 as released."""
        return self.whisper.max_source_positions // self.speech_encoder_ds_rate + 1


AutoConfig.register(OlaConfig.model_type, OlaConfig)
