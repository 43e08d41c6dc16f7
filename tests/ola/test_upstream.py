"""Compare with the original Ola: every table, sample and tensor in the folder `--golden DIR`.

Sizes come from DIR/config.json and names from what lies there, so that fixtures of another model or of other media are
checked by the same code. Ids and sizes are exact, activations within 1e-4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer

from ola.features import fbank, mono16k
from ola.generation import Ola
from ola.geometry import Limits, frame_indices, image_low_size, image_size, video_size
from ola.model import OlaForConditionalGeneration
from ola.packing import PACKED
from ola.processor import OlaProcessor
from ola.projectors import LocalGlobalPooling
from ola.prompt import IGNORE
from ola.weights import released_name
from tests.ola.upstream import CASES, config_of, opened, read, record_of, request_of, sample_of, sound_of, visuals_of

TOLERANCE = 1e-4
# Of features, which are logarithms: in float64 the quietest bins of the stored ones are off by 1.3e-4 themselves, and
# how near float32 comes to them hangs on the FFT of the CPU.
LOUDNESS = 2e-4
ROWS = 50  # `*_rows` tensors hold every 50th frame


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test per case; without the folder, a test that the fixture `golden` skips."""
    folder: Path = metafunc.config.getoption("--golden")
    for argument in CASES.keys() & set(metafunc.fixturenames):
        cases = CASES[argument](folder) if (folder / "config.json").is_file() else {"absent": None}
        metafunc.parametrize(argument, cases.values(), ids=cases.keys())


@pytest.fixture(scope="module")
def processor(golden: Path) -> OlaProcessor:
    return OlaProcessor(AutoTokenizer.from_pretrained(golden / "tokenizer"), config_of(golden))


def test_image_sizes(golden: Path, image_row: Mapping[str, Any]) -> None:
    high = image_size(*image_row["in_wh"])
    assert (*high.size, high.how) == (*image_row["high_wh"], image_row["how"])
    assert image_low_size(high.size) == tuple(image_row["low_wh"])


def test_video_sizes(golden: Path, video_row: Mapping[str, Any]) -> None:
    """Where the original fails because a side becomes 0, this implementation returns one cell."""
    limits = Limits(video_row["patch"], video_max=video_row["VIDEO_MAXRES"], video_min=video_row["VIDEO_MINRES"])
    width, height = video_row["in_wh"]
    fitted = video_size(width, height, limits)
    assert fitted.how == video_row["how"]
    if "Error" in video_row["out_wh"]:
        assert limits.cell in fitted.size
    else:
        assert fitted.size == tuple(video_row["out_wh"])


def test_frame_sampling(golden: Path, sampling: tuple[int, int, list[int]]) -> None:
    frames, keep, expected = sampling
    assert frame_indices(frames, keep) == expected


def test_transparent_picture(golden: Path, processor: OlaProcessor) -> None:
    row = read(golden, "preproc.json")["rgba_png"]
    low, high = processor.image(opened(golden / row["file"])).views
    assert [list(low.shape), list(high.shape)] == [row["low_shape"], row["high_shape"]]
    means = [(view.float() / 127.5 - 1).mean().item() for view in (low, high)]
    assert means == pytest.approx([row["low_mean"], row["high_mean"]], abs=1e-6)


def test_pixels(golden: Path, processor: OlaProcessor, pixels: str) -> None:
    sample, view = pixels.removesuffix("_u8").split(".")
    visual = visuals_of(golden, record_of(golden, sample), processor)[0]
    ours = visual.views[0 if view == "low" else -1]
    theirs = load_file(golden / "train.safetensors")[pixels]
    assert torch.equal(ours, theirs.view(ours.shape))


def test_resampling(golden: Path) -> None:
    ours = mono16k(sound_of(golden / read(golden, "manifest.json")["audio"]["wav_files"]["resample"]))
    theirs = load_file(golden / "audio.safetensors")["resample.out_16k"]
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def test_features(golden: Path, processor: OlaProcessor, sound: str) -> None:
    features = processor.sound(sound_of(golden / read(golden, "manifest.json")["audio"]["wav_files"][sound]))
    ours = {"mel": features.mel.mT, "fbank": features.fbank}
    theirs = load_file(golden / "audio.safetensors")
    for name, feature in ours.items():
        for stored, part in ((f"{sound}.{name}", feature), (f"{sound}.{name}_rows", feature[:, ::ROWS])):
            if stored in theirs:
                torch.testing.assert_close(part, theirs[stored], rtol=0, atol=LOUDNESS, msg=stored)


def test_features_of_a_short_sound(golden: Path, processor: OlaProcessor) -> None:
    theirs = load_file(golden / "audio.safetensors")
    ours = fbank(theirs["short.wav"], processor.config.beats.num_mel_bins)
    torch.testing.assert_close(ours, theirs["short.fbank"], rtol=0, atol=TOLERANCE)


def test_training_sample(golden: Path, processor: OlaProcessor, record: Mapping[str, Any]) -> None:
    prompt, theirs = sample_of(golden, record, processor), read(golden, "train.json")["samples"][record["id"]]
    assert prompt.input_ids.tolist() == theirs["input_ids"]
    assert prompt.labels is not None
    assert prompt.labels.tolist() == theirs["labels"]
    if prompt.sounds:
        assert [len(sound.mel) for sound in prompt.sounds] == theirs["speech_chunks"]
    for n, visual in enumerate(prompt.visuals):
        shapes = [theirs["low_shape"][n], theirs["high_shape"][n]]
        views = [view.shape for view in (visual.views[0], visual.views[-1])]
        assert [[shape[0], *shape[-3:]] for shape in shapes] == [list(view) for view in views]


def test_training_batch(golden: Path, processor: OlaProcessor, batch: Mapping[str, Any]) -> None:
    theirs, facts = load_file(golden / "train.safetensors"), read(golden, "train.json")
    name = next(name for name, one in facts["batches"].items() if one == batch)
    prompts = [sample_of(golden, record_of(golden, sample), processor) for sample in batch["items"]]
    ids = pad_sequence([prompt.input_ids for prompt in prompts], True, facts["pad_token_id"])
    labels = pad_sequence([prompt.labels for prompt in prompts if prompt.labels is not None], True, IGNORE)
    assert torch.equal(ids, theirs[f"{name}.input_ids"])
    assert torch.equal(labels, theirs[f"{name}.labels"])


def test_prompt(golden: Path, processor: OlaProcessor, e2e: str) -> None:
    prompt, theirs = processor.prompt(request_of(golden, e2e, processor)), load_file(golden / f"{e2e}.safetensors")
    assert prompt.input_ids.tolist() == theirs["input_ids"][0].tolist()
    assert prompt.length == theirs["inputs_embeds"].shape[1]
    assert prompt.notes == ()


@pytest.fixture(scope="module")
def original(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> OlaForConditionalGeneration:
    """The original's weights, loaded as one loads the released ones."""
    folder = tmp_path_factory.mktemp("original")
    config_of(golden).save_pretrained(folder)
    (folder / "model.safetensors").symlink_to((golden / "weights.safetensors").absolute())
    return OlaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


@torch.no_grad()
def test_vision_tower(golden: Path, original: OlaForConditionalGeneration) -> None:
    stored = load_file(golden / "vision_tower.safetensors")
    cases = [name.removesuffix(".pixels") for name in stored if name.endswith(".pixels")]
    grids = original.vision_tower([stored[f"{case}.pixels"] for case in cases])
    for case, features in zip(cases, grids, strict=True):
        assert_near(features.flatten(1, 2), stored[f"{case}.feats"], case)
    for name, table in stored.items():
        if name.startswith("pos."):
            height, width = map(int, name.removeprefix("pos.").split("x"))
            assert_near(original.vision_tower.positions(height, width).flatten(0, 1), table[0], name)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_pooling(golden: Path, original: OlaForConditionalGeneration, stride: int) -> None:
    stored = load_file(golden / "mm_projector.safetensors")
    pooler = LocalGlobalPooling(original.config.hidden_size, stride)
    pooler.load_state_dict(original.visual_projector.pooler.state_dict())
    given = stored["pooler.in_4x"] if stride == 4 else stored["pooler.in"]
    assert_near(pooler(given), stored[f"pooler.out_{stride}x"])


@torch.no_grad()
def test_visual_projector(golden: Path, original: OlaForConditionalGeneration) -> None:
    stored = load_file(golden / "mm_projector.safetensors")
    grids = read(golden, "manifest.json")["mm_projector"]["grids"]
    low, high, frames = (stored[name].unflatten(1, grids[name]) for name in ("image.low", "image.high", "video.frames"))
    projector = original.visual_projector
    assert_near(projector.image([low, high]), stored["image.out"][0])
    assert_near(projector.image([low]), stored["image_single.out"][0])
    assert_near(projector.video(frames), stored["video.out"][0])


@torch.no_grad()
def test_audio_encoders(
    golden: Path, original: OlaForConditionalGeneration, sound: str, processor: OlaProcessor
) -> None:
    stored, encoder = load_file(golden / "audio.safetensors"), original.speech_encoder
    features = processor.sound(sound_of(golden / read(golden, "manifest.json")["audio"]["wav_files"][sound]))
    patches = encoder.beats.embed_patches(features.fbank)
    ours = {
        "whisper": encoder.whisper(features.mel).last_hidden_state,
        "beats": encoder.beats(features.fbank),
        "beats_patch_ln": patches,
        "beats_after_pos_conv_ln": encoder.beats.add_positions(patches),
        "projector": original.encode_sounds([features])[0],
    }
    checked = [name for name in ours if f"{sound}.{name}" in stored]
    assert {"whisper", "beats", "projector"} <= set(checked)
    for name in checked:
        assert_near(ours[name], stored[f"{sound}.{name}"], name)


@torch.no_grad()
def test_odd_ends_of_sound(golden: Path, original: OlaForConditionalGeneration) -> None:
    stored, beats = load_file(golden / "audio.safetensors"), original.speech_encoder.beats
    assert_near(beats(stored["short.fbank"]), stored["short.beats"])
    assert_near(original.speech_projector(stored["odd.in"]), stored["odd.out"])
    assert torch.equal(
        beats.relative_attention_bias.buckets(stored["beats.rel_positions"]), stored["beats.rel_buckets"]
    )


@torch.no_grad()
def test_end_to_end(golden: Path, original: OlaForConditionalGeneration, processor: OlaProcessor, e2e: str) -> None:
    stored = load_file(golden / f"{e2e}.safetensors")
    prompt = processor.prompt(request_of(golden, e2e, processor))
    [media] = original.encode([prompt])
    assert_near(original.splice(prompt, media), stored["inputs_embeds"][0])
    assert_near(original([prompt]).logits, stored["logits"])


def test_greedy_ids(golden: Path, original: OlaForConditionalGeneration, processor: OlaProcessor) -> None:
    """All requests run in one batch: an answer does not depend on the other requests."""
    names = CASES["e2e"](golden)
    greedy = [load_file(golden / f"{name}.safetensors")["greedy_ids"][0].tolist() for name in names]
    ola = Ola(original, processor)
    ola.end_ids = frozenset()  # the original was made to go on, too
    requests = [
        dataclasses.replace(request_of(golden, name, processor), max_new_tokens=len(ids))
        for name, ids in zip(names, greedy, strict=True)
    ]
    answers = ola.generate(requests)
    assert {name: list(answer.tokens) for name, answer in zip(names, answers, strict=True)} == dict(
        zip(names, greedy, strict=True)
    )


@pytest.mark.parametrize("attention", ["sdpa", PACKED])
def test_loss_and_gradients(
    golden: Path,
    original: OlaForConditionalGeneration,
    processor: OlaProcessor,
    batch: Mapping[str, Any],
    attention: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(original.config, "_attn_implementation", attention)
    stored, facts = load_file(golden / "train.safetensors"), read(golden, "train.json")
    name = next(name for name, one in facts["batches"].items() if one == batch)
    original.zero_grad()
    out = original([sample_of(golden, record_of(golden, sample), processor) for sample in batch["items"]])
    assert out.loss is not None
    assert len(out.logits) == batch["supervised_tokens"]
    assert_near(out.logits, stored[f"{name}.supervised_logits"])
    assert out.loss.item() == pytest.approx(batch["loss"], abs=TOLERANCE)
    out.loss.backward()
    gradients = {released_name(ours): p.grad for ours, p in original.named_parameters() if p.grad is not None}
    for theirs, norm in batch["grad_norms"].items():
        assert gradients[theirs].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), theirs
    for theirs, gradient in stored.items():
        if theirs.startswith(f"{name}.grad."):
            assert_near(gradients[theirs.removeprefix(f"{name}.grad.")], gradient, theirs)


def assert_near(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE, msg=lambda found: f"{what}: {found}")
