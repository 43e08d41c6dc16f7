"""What the original Ola computed, against ours: every table, sample and tensor found in the folder `--golden DIR`.

Sizes come from DIR/config.json and names from what lies there, so that fixtures of another model or of other media are
checked by the same code. Ids and sizes are exact, activations within 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer

from ola.features import fbank, mono16k
from ola.geometry import Limits, frame_indices, image_low_size, image_size, video_size
from ola.processor import OlaProcessor
from ola.prompt import IGNORE
from tests.ola.upstream import CASES, config_of, opened, read, record_of, request_of, sample_of, sound_of, visuals_of

TOLERANCE = 1e-4
ROWS = 50  # `*_rows` tensors hold every 50th frame


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case; where there is no folder one that the fixture `golden` skips."""
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
    """Where the original fails, since a side comes to nothing, ours is one cell."""
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
                torch.testing.assert_close(part, theirs[stored], rtol=0, atol=TOLERANCE, msg=stored)


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
