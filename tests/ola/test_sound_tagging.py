"""BEATs' AudioSet head: what a checkpoint must hold, 527 logits, windows, and sounds longer than one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ola.checkpoint import BadCheckpoint
from ola.features import fbank
from ola.sound_tagging import AT_ONCE, STEP, SoundTagger, load_tagger, pad_to_columns, window_means
from tests.pipeline.hearing.models import checkpoint_of, save_beats, small_beats


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> SoundTagger:
    return load_tagger(save_beats(tmp_path_factory.mktemp("beats") / "BEATs.pt"))


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)


def test_the_released_names_load_into_the_same_model(tagger: SoundTagger) -> None:
    made, loaded = small_beats().state_dict(), tagger.beats.state_dict()
    assert made.keys() == loaded.keys()
    for name, tensor in made.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=1e-6, msg=name)
    assert len(tagger.classes) == 527
    assert tagger.classes[-1] == "/m/09x0r", "by position, as the file's label_dict says"


def test_the_head_gives_the_mean_over_all_patches(tagger: SoundTagger) -> None:
    """Over a whole sound, the mean of the columns is what the released model computes: the mean over all patches."""
    samples = sound(4.8)
    logits = tagger.logits(samples)
    assert logits.shape == (30, 527)
    with torch.inference_mode():
        patches = tagger.beats(fbank(torch.from_numpy(pad_to_columns(samples))[None]))[0]
        expected = tagger.beats.predictor(patches).mean(0)
    torch.testing.assert_close(logits.mean(0), expected)
    assert expected.std() > 0.01


def test_a_window_is_the_mean_of_its_columns(tagger: SoundTagger) -> None:
    samples = sound(2.4)
    scores, logits = tagger.score(samples), tagger.logits(samples)
    assert scores.shape == (4, 527)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[1], logits[3:9].mean(0).sigmoid().numpy(), rtol=1e-5)
    assert window_means(torch.zeros(6, 527)).shape == (1, 527)


def test_a_long_sound_is_read_in_passes(tagger: SoundTagger) -> None:
    samples = sound(20.0)
    logits = tagger.logits(samples)
    assert logits.shape == (125, 527)
    first = tagger.logits(samples[: AT_ONCE * STEP + 240])[:AT_ONCE]
    assert not torch.allclose(first, logits[:AT_ONCE], atol=1e-7) or first.shape == (AT_ONCE, 527)
    last = logits[2 * AT_ONCE :]
    alone = tagger.logits(samples[2 * AT_ONCE * STEP :])
    torch.testing.assert_close(last, alone)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda held: held.pop("label_dict"), "label_dict"),
        (lambda held: held["model"].pop("predictor.weight"), "missing .*predictor.weight"),
        (
            lambda held: held["model"].update({"predictor.bias": torch.zeros(7)}),
            r"predictor.bias is \[7\], not \[527\]",
        ),
        (lambda held: held["label_dict"].pop(5), "526"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: Any, fault: str) -> None:
    contents = checkpoint_of(small_beats())
    change(contents)
    torch.save(contents, tmp_path / "other.pt")
    with pytest.raises(BadCheckpoint, match=fault):
        load_tagger(tmp_path / "other.pt")
