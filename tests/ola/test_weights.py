"""Checkpoints: both layouts, whole and damaged; and the names and sizes of the released model."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ola.checkpoint import BadCheckpoint
from ola.config import OlaConfig
from ola.model import OlaForConditionalGeneration
from ola.weights import released_name
from tests.ola import tiny

WHISPER, BEATS = "model.speech_encoder.whisper_model.", "model.speech_encoder.beats_model."


def released(model: OlaForConditionalGeneration) -> dict[str, Tensor]:
    """The model's tensors as the released weights name and shape them."""
    found: dict[str, Tensor] = {}
    in_order = sorted(model.state_dict().items(), key=lambda named: "qkv".find(named[0].split("_proj.")[0][-1]))
    for name, tensor in in_order:
        theirs = released_name(name)
        found[theirs] = torch.cat([found[theirs], tensor]) if theirs in found else tensor.clone()
        if theirs.endswith(".weight_v"):
            found[theirs.removesuffix("v") + "g"] = tensor.norm(dim=(0, 1), keepdim=True)
    shared = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    if model.config.has_speech:
        found[BEATS + shared.format(1)] = found[BEATS + shared.format(0)].clone()
    return found


def write(folder: Path, config: OlaConfig, tensors: dict[str, Tensor]) -> Path:
    config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors")
    return folder


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6 if "pos_conv" in name else 0, msg=name)
        assert tensor.requires_grad == theirs[name].requires_grad


@pytest.fixture(scope="module")
def model() -> OlaForConditionalGeneration:
    return tiny.model()


def test_what_is_saved_is_loaded(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size="1MB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    again = OlaForConditionalGeneration.from_pretrained(tmp_path)
    assert_same(model, again)
    assert not again.training
    assert again.config.to_dict() == model.config.to_dict()


def test_auto_classes_know_the_model(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is OlaConfig
    assert_same(model, AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))


def test_the_released_layout_is_loaded(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    write(tmp_path, model.config, released(model))
    assert_same(model, OlaForConditionalGeneration.from_pretrained(tmp_path))


def test_audio_encoders_may_lie_beside_the_shards(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    tensors = released(model)
    audio = {name: tensors.pop(name) for name in list(tensors) if name.startswith((WHISPER, BEATS))}
    config = tiny.config(speech_encoder="./pretrained/large-v3.pt", music_encoder="./pretrained/BEATs.pt")
    write(tmp_path, config, tensors)
    # What the files say of their sizes counts, not what config.json says.
    written = json.loads((tmp_path / "config.json").read_text())
    sizes, conv = written.pop("whisper"), written.pop("beats")
    (tmp_path / "config.json").write_text(json.dumps(written))
    dims = {
        "n_mels": sizes["num_mel_bins"],
        "n_audio_ctx": sizes["max_source_positions"],
        "n_audio_state": sizes["d_model"],
        "n_audio_head": sizes["encoder_attention_heads"],
        "n_audio_layer": sizes["encoder_layers"],
    }
    speech = {"encoder." + name.removeprefix(WHISPER): t for name, t in audio.items() if name.startswith(WHISPER)}
    speech["decoder.ln.weight"] = torch.ones(3)
    torch.save({"dims": dims, "model_state_dict": speech}, tmp_path / "large-v3.pt")
    cfg = {
        "encoder_layers": conv["num_hidden_layers"],
        "encoder_embed_dim": conv["hidden_size"],
        "encoder_ffn_embed_dim": conv["intermediate_size"],
        "encoder_attention_heads": conv["num_attention_heads"],
        "embed_dim": conv["embed_dim"],
        "input_patch_size": conv["patch_size"],
        "conv_pos": conv["conv_pos"],
        "conv_pos_groups": conv["conv_pos_groups"],
        "num_buckets": conv["num_buckets"],
        "max_distance": conv["max_distance"],
        "predictor_class": conv["num_classes"],
    }
    sound = {name.removeprefix(BEATS): t for name, t in audio.items() if name.startswith(BEATS)}
    torch.save({"cfg": cfg, "model": sound}, tmp_path / "BEATs.pt")
    assert_same(model, OlaForConditionalGeneration.from_pretrained(tmp_path))
    (tmp_path / "BEATs.pt").unlink()
    with pytest.raises(BadCheckpoint, match=r"no BEATs\.pt beside"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)


def test_a_model_that_only_sees(tmp_path: Path) -> None:
    seeing = tiny.model(has_speech=False)
    write(tmp_path, seeing.config, released(seeing))
    assert_same(seeing, OlaForConditionalGeneration.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    ("released_config", "hears"),
    [
        ({"mm_vision_tower": "v", "speech_encoder": "l.pt"}, True),
        ({"mm_vision_tower": "v"}, False),
        ({}, True),
    ],
)
def test_a_released_config_says_whether_it_hears(released_config: dict[str, Any], hears: bool) -> None:
    assert OlaConfig(**released_config).has_speech is hears


def renamed(tensors: dict[str, Tensor]) -> str:
    tensors["model.mm_projector.proj9.weight"] = tensors.pop("model.mm_projector.proj2.weight")
    return r"missing model\.mm_projector\.proj2\.weight (.|\n)*unexpected model\.mm_projector\.proj9\.weight"


def missing(tensors: dict[str, Tensor]) -> str:
    del (
        tensors["model.vision_tower.vision_tower.blocks.1.attn.qkv.bias"],
        tensors[BEATS + "encoder.pos_conv.0.weight_g"],
    )
    return r"missing model\.vision_tower\S+blocks\.1\.attn\.qkv\.bias (.|\n)*missing \S+pos_conv\.0\.weight_g"


def misshaped(tensors: dict[str, Tensor]) -> str:
    tensors[WHISPER + "conv1.weight"] = torch.zeros(2, 3)
    return r"conv1\.weight is \[2, 3\], not \["


@pytest.mark.parametrize("damage", [renamed, missing, misshaped])
def test_damage_is_named(
    damage: Callable[[dict[str, Tensor]], str], model: OlaForConditionalGeneration, tmp_path: Path
) -> None:
    tensors = released(model)
    message = damage(tensors)
    with pytest.raises(BadCheckpoint, match=message):
        OlaForConditionalGeneration.from_pretrained(write(tmp_path, model.config, tensors))


def test_damage_in_our_own_layout_is_named(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["visual_projector.proj2.bais"] = tensors.pop("visual_projector.proj2.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=r"missing visual_projector\.proj2\.bias(.|\n)*proj2\.bais"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)


def test_files_that_lack_or_are_cut_short(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size="1MB")
    first, *_ = sorted(tmp_path.glob("model-*.safetensors"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-7])
    with pytest.raises(BadCheckpoint, match=rf"{first.name} is cut short: {len(whole) - 7} bytes of {len(whole)}"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)
    first.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(BadCheckpoint, match="no safetensors header"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)
    first.unlink()
    with pytest.raises(BadCheckpoint, match=f"lacks {first.name}"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)


class RunsCode:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_a_pickle_that_runs_code_is_refused(
    model: OlaForConditionalGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seeing = {name: t for name, t in released(model).items() if not name.startswith((WHISPER, BEATS))}
    write(tmp_path, tiny.config(speech_encoder="w.pt", music_encoder="b.pt"), seeing)
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"dims": RunsCode()}, protocol=2))
    with pytest.raises(BadCheckpoint, match=r"w\.pt is no file of plain tensors"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)
    torch.save({"dims": RunsCode()}, tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match=r"w\.pt is no file of plain tensors"):
        OlaForConditionalGeneration.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes(dtype: torch.dtype, model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = OlaForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
    for name, tensor in loaded.named_parameters():
        assert tensor.dtype == (torch.float32 if ".beats." in name else dtype), name
    again = OlaForConditionalGeneration.from_pretrained(write(tmp_path / "again", loaded.config, loaded.state_dict()))
    if dtype is torch.float16:  # but not what a CPU is slow with
        loaded = OlaForConditionalGeneration.from_pretrained(tmp_path / "again", dtype=torch.float32)
    assert_same(loaded, again)  # "auto" keeps what is stored


def test_beats_stays_float32_when_the_model_is_cast() -> None:
    model = tiny.model()
    before = model.speech_encoder.beats.norm.weight.clone()
    model.bfloat16()
    assert model.visual_projector.proj1.weight.dtype == torch.bfloat16
    torch.testing.assert_close(model.speech_encoder.beats.norm.weight, before, rtol=0, atol=0)


PEAK = """
import re, sys, torch
from pathlib import Path
from ola.model import OlaForConditionalGeneration
def status(key): return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
OlaForConditionalGeneration.from_pretrained(sys.argv[2])  # what is loaded once is no part of the peak
for dtype in (torch.bfloat16, torch.float32):
    Path("/proc/self/clear_refs").write_text("5")
    before, model = status("VmRSS"), None
    model = OlaForConditionalGeneration.from_pretrained(sys.argv[1], dtype=dtype)
    size = sum(p.numel() * p.itemsize for p in model.parameters())
    print((status("VmHWM") - before) * 1024 / size)
    del model
"""


def test_loading_needs_little_more_than_the_weights(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path / "tiny")
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 8, "vocab_size": 40_000}
    tiny.model(**sizes).bfloat16().save_pretrained(tmp_path / "large")
    command = [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path / "large"), str(tmp_path / "tiny")]
    ratios = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert len(ratios) == 2
    assert max(map(float, ratios)) < 1.15


def test_the_released_names_shapes_and_counts() -> None:
    config = OlaConfig(**tiny.RELEASED_DECODER)
    with torch.device("meta"):
        model = OlaForConditionalGeneration(config)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in model.named_parameters():
        first, *rest = tensor.shape
        theirs = released_name(name)
        shapes[theirs] = (3 * first if ".qkv." in theirs else first, *rest)
    vit, whisper, beats = "model.vision_tower.vision_tower.", WHISPER, BEATS
    expected = {
        "model.embed_tokens.weight": (152064, 3584),
        "model.layers.27.self_attn.k_proj.weight": (512, 3584),
        "model.layers.27.mlp.down_proj.weight": (3584, 18944),
        "model.norm.weight": (3584,),
        "lm_head.weight": (152064, 3584),
        vit + "pos_embed": (1, 16384, 1152),
        vit + "patch_embed.proj.weight": (1152, 3, 16, 16),
        vit + "patch_embed.proj.bias": (1152,),
        **both(vit + "blocks.26.norm1", (1152,)),
        **both(vit + "blocks.26.attn.qkv", (3456, 1152)),
        **both(vit + "blocks.26.attn.proj", (1152, 1152)),
        **both(vit + "blocks.26.norm2", (1152,)),
        **both(vit + "blocks.26.mlp.fc1", (4304, 1152)),
        **both(vit + "blocks.26.mlp.fc2", (1152, 4304)),
        **{f"model.mm_projector.image_{name}": (3584,) for name in ("newline", "begin", "end", "sep")},
        **both("model.mm_projector.proj1", (3584, 1152)),
        **both("model.mm_projector.proj2", (3584, 3584)),
        **both("model.mm_projector.pooler.predictor.0", (3584, 7168)),
        **both("model.mm_projector.pooler.predictor.2", (3584, 3584)),
        **both(whisper + "conv1", (1280, 128, 3)),
        **both(whisper + "conv2", (1280, 1280, 3)),
        whisper + "positional_embedding": (1500, 1280),
        **both(whisper + "blocks.31.attn.query", (1280, 1280)),
        whisper + "blocks.31.attn.key.weight": (1280, 1280),
        **both(whisper + "blocks.31.attn.value", (1280, 1280)),
        **both(whisper + "blocks.31.attn.out", (1280, 1280)),
        **both(whisper + "blocks.31.attn_ln", (1280,)),
        **both(whisper + "blocks.31.mlp.0", (5120, 1280)),
        **both(whisper + "blocks.31.mlp.2", (1280, 5120)),
        **both(whisper + "blocks.31.mlp_ln", (1280,)),
        **both(whisper + "ln_post", (1280,)),
        beats + "patch_embedding.weight": (512, 1, 16, 16),
        **both(beats + "layer_norm", (512,)),
        **both(beats + "post_extract_proj", (768, 512)),
        beats + "encoder.pos_conv.0.weight_v": (768, 48, 128),
        beats + "encoder.pos_conv.0.bias": (768,),
        **both(beats + "encoder.layers.11.self_attn.q_proj", (768, 768)),
        **both(beats + "encoder.layers.11.self_attn.k_proj", (768, 768)),
        **both(beats + "encoder.layers.11.self_attn.v_proj", (768, 768)),
        **both(beats + "encoder.layers.11.self_attn.out_proj", (768, 768)),
        **both(beats + "encoder.layers.11.self_attn.grep_linear", (8, 64)),
        beats + "encoder.layers.11.self_attn.grep_a": (1, 12, 1, 1),
        beats + "encoder.layers.0.self_attn.relative_attention_bias.weight": (320, 12),
        **both(beats + "encoder.layers.11.self_attn_layer_norm", (768,)),
        **both(beats + "encoder.layers.11.fc1", (3072, 768)),
        **both(beats + "encoder.layers.11.fc2", (768, 3072)),
        **both(beats + "encoder.layers.11.final_layer_norm", (768,)),
        **both(beats + "encoder.layer_norm", (768,)),
        **both(beats + "predictor", (527, 768)),
        **{f"model.speech_projector.speech_{name}": (3584,) for name in ("newline", "begin", "end")},
        **both("model.speech_projector.linear1", (2048, 20480)),
        **both("model.speech_projector.linear2", (3584, 2048)),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert towers(shapes) == towers(expected)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert round(counts["vision_tower"] / 1e6, 1) == 431.2
    assert round(sum(p.numel() for p in model.speech_encoder.whisper.parameters()) / 1e6, 1) == 637.0
    assert round(sum(p.numel() for p in model.speech_encoder.beats.parameters()) / 1e6) == 91
    assert round((counts["model"] + counts["lm_head"]) / 1e6) == 7616


def both(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def towers(names: Iterable[str]) -> set[str]:
    """The names of all but Qwen2's layers, whatever the number of the layer."""
    return {re.sub(r"(blocks|layers)\.\d+\.", r"\1.#.", name) for name in names if not name.startswith("model.layers.")}
