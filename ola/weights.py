"""Load checkpoints: map the tensors of files to the tensors of the model.

In: a folder in this project's layout, or in that of the released Ola weights (sharded safetensors; the audio encoders
in them or in separate `.pt` files). Out: a model with every tensor filled, or a `BadCheckpoint` that names all missing,
unexpected or misshapen tensors, before any weights are read. Each tensor is read directly into its target, so that
loading needs little more memory than the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import GenerationConfig, Qwen2ForCausalLM

from ola.checkpoint import DTYPES, BadCheckpoint, PickledTensor, Stored, load_pickled, tensors_of
from ola.config import AUDIO_FRAMES_PER_S, OlaConfig
from ola.cuda_settings import expand_segments

Model = TypeVar("Model", bound=Qwen2ForCausalLM)

VIT = "model.vision_tower.vision_tower."
WHISPER = "model.speech_encoder.whisper_model."
BEATS = "model.speech_encoder.beats_model."

# Names in this project to names in the released weights, by longest prefix; # is the number of a layer.
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
# Fields of `BeatsConfig` to those of a BEATs checkpoint's `cfg`.
BEATS_SIZES = {
    "hidden_size": "encoder_embed_dim",
    "intermediate_size": "encoder_ffn_embed_dim",
    "num_hidden_layers": "encoder_layers",
    "num_attention_heads": "encoder_attention_heads",
    "embed_dim": "embed_dim",
    "patch_size": "input_patch_size",
    "conv_pos": "conv_pos",
    "conv_pos_groups": "conv_pos_groups",
    "num_buckets": "num_buckets",
    "max_distance": "max_distance",
    "num_classes": "predictor_class",
}
# The released weights repeat this table in each layer.
SHARED = re.compile(re.escape(BEATS) + r"encoder\.layers\.[1-9]\d*\.self_attn\.relative_attention_bias\.weight")


def released_name(name: str) -> str:
    """Return the released name of tensor `name`; q, k and v all map to the tensor that holds all three."""
    layer = re.search(r"(?<=\.)\d+(?=\.)", name)
    general = name if layer is None else name[: layer.start()] + "#" + name[layer.end() :]
    prefix = max((prefix for prefix in NAMES if general.startswith(prefix)), key=len)
    found = NAMES[prefix] + general.removeprefix(prefix)
    return found if layer is None else found.replace("#", layer[0], 1)


@dataclass(frozen=True)
class Loading(Generic[Model]):
    """A model on the meta device, and the source of each of its tensors.

    sources: tensor names to names in `stored`. faults: a line per missing, unexpected or misshapen tensor.
    """

    model: Model
    stored: Mapping[str, Stored]
    sources: Mapping[str, str]
    faults: Sequence[str]


def config_of(folder: Path) -> OlaConfig:
    """Read the configuration of the model in a folder. Raises BadCheckpoint without an Ola's `config.json`."""
    if not (folder / "config.json").is_file():
        raise BadCheckpoint(f"{folder} has no config.json: name the folder of a downloaded model")
    stored, _ = OlaConfig.get_config_dict(folder)
    if stored.get("model_type") != OlaConfig.model_type:
        raise BadCheckpoint(f"{folder} holds a model of type {stored.get('model_type')}, not {OlaConfig.model_type}")
    return OlaConfig.from_dict(stored)


def prepare(kind: type[Model], folder: Path, config: OlaConfig) -> Loading[Model]:
    """Compare the tensor names and shapes of a folder with those of the model, without reading weights."""
    stored = tensors_of(folder)
    released = any(name.startswith(VIT) for name in stored)
    if released and config.has_speech and not any(name.startswith((WHISPER, BEATS)) for name in stored):
        stored |= speech_files(folder, config)
    with torch.device("meta"):
        model = kind(config)
    sources = {name: released_name(name) if released else name for name, _ in model.named_parameters()}
    return Loading(model, stored, sources, shape_faults(dict(expected_shapes(model, sources)), stored))


def load(
    kind: type[Model], folder: Path, config: OlaConfig, dtype: torch.dtype | str, device: torch.device | str
) -> Model:
    """Load a model of `kind` from `folder`, in evaluation mode; see `from_pretrained`."""
    return fill(prepare_checked(kind, folder, config), folder, dtype, device)


def prepare_checked(kind: type[Model], folder: Path, config: OlaConfig) -> Loading[Model]:
    """Call `prepare`. Raises BadCheckpoint with all faults."""
    found = prepare(kind, folder, config)
    if found.faults:
        raise BadCheckpoint(f"{folder} does not hold this model's tensors:\n  " + "\n  ".join(found.faults))
    return found


def fill(found: Loading[Model], folder: Path, dtype: torch.dtype | str, device: torch.device | str) -> Model:
    """Read the weights of the parameters that the model has, and return it in evaluation mode."""
    expand_segments(device)
    kinds = dtypes_of(found, dtype, device)
    for name, parameter in found.model.named_parameters():
        buffer = torch.empty(parameter.shape, dtype=kinds[name], device=device)
        read_tensor(name, found.sources[name], found.stored, buffer, 0, buffer.shape)
        set_tensor(found.model, name, buffer)
    return _finish(found.model, folder, device)


def fill_rows(found: Loading[Model], folder: Path, device: torch.device | str) -> Model:
    """Allocate the parameters on a device and read them; of sharded parameters (DTensors), only this rank's rows.

    The parameters keep their dtypes; those without a source stay unread. Returns the model in evaluation mode.
    """
    model = allocate(found.model, folder, device)
    for name, parameter in model.named_parameters():
        rows, first = rows_of_rank(parameter)
        if rows.numel() and name in found.sources:
            read_tensor(name, found.sources[name], found.stored, rows, first, parameter.shape)
    return model


def allocate(model: Model, folder: Path, device: torch.device | str) -> Model:
    """Give a model on the meta device memory for its parameters, unread; return it in evaluation mode."""
    model.to_empty(device=device)
    return _finish(model, folder, device)


def rows_of_rank(tensor: Tensor) -> tuple[Tensor, int]:
    """Return this rank's rows of a tensor and the index of the first one; all rows of a tensor that is not sharded."""
    if not isinstance(tensor, DTensor):
        return tensor.detach(), 0
    _, starts = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tensor.to_local().detach(), starts[0]


def dtypes_of(found: Loading[Model], dtype: torch.dtype | str, device: torch.device | str) -> dict[str, torch.dtype]:
    """Return the dtype to load each parameter as; float32 for BEATs. Raises ValueError for an unknown dtype."""
    exact = _load_dtype(dtype, found.stored["model.embed_tokens.weight"].dtype, torch.device(device))
    return {name: each.dtype if "beats" in name else exact for name, each in found.model.named_parameters()}


def _load_dtype(dtype: torch.dtype | str, stored: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype; for `auto` the stored one, or float32 for float16 on a CPU, where float16 is 40x slower."""
    if isinstance(dtype, torch.dtype):
        return dtype
    stored = torch.float32 if stored is torch.float16 and device.type == "cpu" else stored
    named = {str(kind).removeprefix("torch."): kind for kind in DTYPES.values()} | {"auto": stored}
    if dtype not in named:
        raise ValueError(f"no dtype {dtype!r} (choices: {', '.join(named)})")
    return named[dtype]


def speech_files(folder: Path, config: OlaConfig) -> dict[str, Stored]:
    """Load the audio encoders from the `.pt` files that `config.json` names; set their sizes in `config`."""
    whisper = load_pickled(_find_encoder_file(folder, config.speech_encoder))
    dims = whisper["dims"]
    config.whisper.update(
        {
            "num_mel_bins": dims["n_mels"],
            "d_model": dims["n_audio_state"],
            "encoder_layers": dims["n_audio_layer"],
            "encoder_attention_heads": dims["n_audio_head"],
            "encoder_ffn_dim": 4 * dims["n_audio_state"],
            "max_source_positions": dims["n_audio_ctx"],
        }
    )
    config.audio_chunk_seconds = dims["n_audio_ctx"] // AUDIO_FRAMES_PER_S
    beats = load_pickled(_find_encoder_file(folder, config.music_encoder))
    config.beats.update({ours: beats["cfg"][theirs] for ours, theirs in BEATS_SIZES.items() if theirs in beats["cfg"]})
    encoder: dict[str, Stored] = {
        WHISPER + name.removeprefix("encoder."): PickledTensor(tensor)
        for name, tensor in whisper["model_state_dict"].items()
        if name.startswith("encoder.")
    }
    return encoder | {BEATS + name: PickledTensor(tensor) for name, tensor in beats["model"].items()}


def _find_encoder_file(folder: Path, named: str) -> Path:
    file = folder / Path(named).name
    if not file.is_file():
        raise BadCheckpoint(
            f"{folder}: no audio encoder in the shards, and no {file.name} beside them; for a model that only sees, "
            'say "has_speech": false in config.json'
        )
    return file


def shape_faults(expected: Mapping[str, tuple[int, ...]], stored: Mapping[str, Stored]) -> list[str]:
    """Return a line per missing, unexpected or misshapen tensor."""
    missing = [f"missing {name} {list(shape)}" for name, shape in expected.items() if name not in stored]
    unexpected = [
        f"unexpected {name} {list(stored[name].shape)}"
        for name in stored
        if not (name in expected or SHARED.match(name))
    ]
    other = [
        f"{name} is {list(stored[name].shape)}, not {list(shape)}"
        for name, shape in expected.items()
        if name in stored and tuple(stored[name].shape) != shape
    ]
    return [*missing, *unexpected, *other]


def expected_shapes(model: nn.Module, sources: Mapping[str, str]) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each tensor that the files must have."""
    for name, parameter in model.named_parameters():
        source, shape = sources[name], tuple(parameter.shape)
        yield source, (3 * shape[0], *shape[1:]) if ".qkv." in source else shape
        if source.endswith(".weight_v"):
            yield _norm_name(source), (1, 1, shape[2])


def read_tensor(
    name: str, source: str, stored: Mapping[str, Stored], target: Tensor, first: int, shape: tuple[int, ...]
) -> None:
    """Fill `target` with the rows from `first` on of a tensor of this shape."""
    if source.endswith(".weight_v"):  # weight norm, with one norm per tap over all rows
        whole = torch.empty(shape, dtype=target.dtype, device=target.device)
        length = torch.empty(1, 1, shape[2], dtype=target.dtype, device=target.device)
        stored[source].copy_into(whole)
        stored[_norm_name(source)].copy_into(length)
        target.copy_((whole * (length / whole.norm(dim=(0, 1), keepdim=True)))[first : first + len(target)])
        return
    third = next((i for i, of in enumerate("qkv") if ".qkv." in source and f".{of}_proj." in name), 0)
    stored[source].copy_into(target, third * (shape[0] if shape else 0) + first)


def _norm_name(source: str) -> str:
    return source.removesuffix("v") + "g"


def set_tensor(model: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter of a model by a tensor."""
    module, _, leaf = name.rpartition(".")
    owner = model.get_submodule(module)
    setattr(owner, leaf, nn.Parameter(value, requires_grad=getattr(owner, leaf).requires_grad))


def _finish(model: Model, folder: Path, device: torch.device | str) -> Model:
    # The frequency table is no parameter and was computed on the meta device, so it is computed again.
    with torch.device(device):
        model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    model.tie_weights()
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    model.eval()
    return model
