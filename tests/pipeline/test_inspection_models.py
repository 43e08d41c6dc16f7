"""Families of `inspect` with packages of their own: their settings and keys, what is said without a package, scores."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ola.speech.speakers import Espeak
from pipeline.errors import BadMedia, ConfigError
from pipeline.inspection import packages
from pipeline.inspection.nudity import NudityDetector, open_nudity_detector, prepare_frame
from pipeline.inspection.packages import FAMILIES
from pipeline.inspection.text_reader import TextLine
from pipeline.inspection.voice import (
    LENGTH,
    QualityMeter,
    VoiceDetector,
    cut_piece,
    open_quality_meter,
    open_voice_detector,
    starts_of_pieces,
)
from pipeline.media.audio import RATE, wav_bytes
from pipeline.steps import inspection
from pipeline.steps.inspection import Inspect, InspectSettings
from tests.pipeline.test_inspection import jpeg, known, noise, opened, pcm, scores_of, speech, stored

OLD_SETTINGS = {"picture": True, "changes": True, "sound": True, "frames": 12}


def test_the_facts_of_the_step_are_those_of_a_version_without_the_families() -> None:
    assert Inspect(InspectSettings()).facts() == {"step": "inspect", "version": 1, "settings": OLD_SETTINGS}
    assert Inspect(InspectSettings(read_frames=3)).facts()["settings"] == OLD_SETTINGS, "no frame is read"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_is_on_is_part_of_the_facts(family: str) -> None:
    facts = Inspect(InspectSettings.model_validate({family: True})).facts()
    frames = {"read_frames": 6} if family in ("text", "nudity") else {}
    assert facts["settings"] == {**OLD_SETTINGS, family: True, **frames}
    assert facts["families"] == {family: 1}
    assert Inspect(InspectSettings.model_validate({family: True})).allowance(None) > 0  # type: ignore[arg-type]
    assert Inspect().allowance(None) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["speech", "quality", "nudity"])
def test_a_missing_package_is_one_line(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"^inspect\.{family}: .*ola-pipeline\[inspect-{family}\]") as raised:
        opened(tmp_path, **{family: True})
    assert "\n" not in str(raised.value)
    assert FAMILIES[family].columns[-1] in str(raised.value)


class Fake:
    """A session that answers with given arrays, and keeps its inputs."""

    def __init__(self, *answers: NDArray[np.float32]) -> None:
        self.answers, self.inputs = list(answers), list[dict[str, NDArray[np.float32]]]()

    def run(self, names: Any, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        self.inputs.append(inputs)
        return [self.answers.pop(0)]


def test_the_share_of_speech_is_that_of_its_steps() -> None:
    session = Fake(np.array([0.1, 0.6, 0.9], np.float32))
    samples = np.arange(1, 1 + 512 * 2 + 100, dtype=np.int16)
    assert VoiceDetector(session).share(samples) == pytest.approx(2 / 3)
    windows = session.inputs[0]["input"] * 32768
    assert windows.shape == (3, 576)
    assert windows[0, :65].tolist() == [0] * 64 + [1]
    assert windows[1, :65].tolist() == list(range(449, 514)), "the model sees the 64 samples before"
    assert windows[2, 64 + 100 :].tolist() == [0] * 412


def test_the_quality_is_the_mean_of_pieces() -> None:
    session = Fake(*[np.array([[3.0, 4.0, 2.0 + n]], np.float32) for n in range(2)])
    scores = QualityMeter(session).scores(np.full(LENGTH + 5, 1000, np.int16))
    curve = [-0.06766283 * raw**2 + 1.11546468 * raw + 0.04602535 for raw in (2, 3)]
    assert scores["speech_quality"] == pytest.approx(sum(curve) / 2, abs=1e-5)
    assert list(scores) == ["speech_clarity", "speech_background", "speech_quality"]
    assert set(QualityMeter(Fake()).scores(np.ones(RATE, np.int16)).values()) == {None}


def test_pieces_of_a_sound_are_spread_evenly_and_short_sounds_repeated() -> None:
    assert starts_of_pieces(RATE) == [0]
    assert starts_of_pieces(LENGTH + 1) == [0, 1]
    assert len(starts_of_pieces(100 * RATE)) == 3
    assert starts_of_pieces(100 * RATE)[-1] == 100 * RATE - LENGTH
    piece = cut_piece(np.array([16384, -16384, 0], np.int16), 0)
    assert piece[:5].tolist() == [0.5, -0.5, 0, 0.5, -0.5]
    assert piece.shape == (LENGTH,)


def test_nudity_is_the_most_likely_uncovered_part() -> None:
    detections = np.zeros((1, 22, 5), np.float32)
    detections[0, 4 + 1, 2] = 0.9  # a face
    detections[0, 4 + 3, 4] = 0.4
    detections[0, 0] = 300.0  # a box
    assert NudityDetector(Fake(detections)).score(np.zeros((90, 160, 3), np.uint8)) == pytest.approx(0.4)


def test_a_frame_fills_the_upper_left_of_a_square() -> None:
    frame = np.full((90, 160, 3), 255, np.uint8)
    frame[..., 2] = 0
    prepared = prepare_frame(frame)
    assert prepared.shape == (1, 3, 320, 320)
    assert prepared[0, :, 100, 100].tolist() == [1, 1, 0]
    assert prepared[0, :, 181:].max() == 0


class Reader:
    """Reads a line in each frame."""

    def read(self, frame: NDArray[np.uint8]) -> tuple[TextLine, ...]:
        assert frame.shape == (96, 128, 3)
        return (TextLine("Hello", 0.9, (0.4, 0.85, 0.6, 0.95)),)


def test_frames_that_are_read_have_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "open_text_reader", Reader)
    media = stored(tmp_path, *[jpeg(noise(n)) for n in range(5)], wav=None)
    scores = scores_of(opened(tmp_path, text=True, read_frames=2, picture=False, changes=False), media)
    assert scores.text_times == (0.001, 0.003)
    assert [(each.time, each.text) for each in scores.screen_text] == [(0.001, "Hello"), (0.003, "Hello")]
    assert scores.text_area == pytest.approx(0.02)
    assert scores.sharpness is None
    broken = stored(tmp_path, b"no jpeg", wav=None)
    assert isinstance(opened(tmp_path, text=True, picture=False, changes=False).run([broken])[0], BadMedia)


def needs(module: str) -> pytest.MarkDecorator:
    installed = all(importlib.util.find_spec(name) for name in (module, "onnxruntime"))
    return pytest.mark.skipif(not installed, reason=f"{module} is not installed")


def voice() -> NDArray[np.float64]:
    """Seven seconds of synthetic speech, 16 kHz, -1..1."""
    pytest.importorskip("espeakng_loader")
    soxr = pytest.importorskip("soxr")
    text = "He had then leisure to consider how prudently he could do it. Nobody had seen the boats leave the harbour."
    samples = np.concatenate(list(Espeak().speak(text))) / 32768
    return np.asarray(soxr.resample(samples, Espeak.rate, RATE), np.float64)


def white_noise(count: int, level: float) -> NDArray[np.float64]:
    return np.random.default_rng(28).normal(0, level, count)


@needs("silero_vad")
def test_the_share_of_speech_is_that_of_the_voice() -> None:
    detector, wave, pause = open_voice_detector(), voice()[: 3 * RATE], white_noise(6 * RATE, 0.001)
    assert detector.share(pcm(wave)) > 0.9
    assert detector.share(pcm(np.concatenate((wave, pause)))) == pytest.approx(1 / 3, abs=0.03)
    chord = np.sin(2 * np.pi * np.outer(np.arange(3 * RATE) / RATE, (220, 277, 330))).sum(1)
    for other in (np.zeros(3 * RATE), white_noise(3 * RATE, 0.1), 0.1 * chord):
        assert detector.share(pcm(other)) == 0


@needs("speechmos")
def test_noise_lowers_the_quality() -> None:
    meter, wave = open_quality_meter(), voice()
    levels = [0, 0.1, 1]
    scores = [meter.scores(pcm(wave + white_noise(len(wave), level * wave.std()))) for level in levels]
    for name in ("speech_quality", "speech_background"):
        falling = [known(each[name]) for each in scores]
        assert falling == sorted(falling, reverse=True)
        assert 5 > falling[0] > falling[2] + 0.5 > 1.5


@needs("nudenet")
def test_textures_are_not_nude() -> None:
    detector = open_nudity_detector()
    frame = np.repeat(noise(3, 320, 320).astype(np.uint8)[..., None], 3, axis=2)
    assert detector.score(frame) < 0.1


@needs("rapidocr")
def test_all_families_of_a_stored_clip(tmp_path: Path) -> None:
    wav = wav_bytes(pcm(speech(1)).tobytes())
    media = stored(tmp_path, jpeg(noise(1)), jpeg(noise(2)), wav=wav)
    chosen = {name: True for name, family in FAMILIES.items() if importlib.util.find_spec(family.modules[0])}
    scores = scores_of(opened(tmp_path, **chosen), media)
    assert scores.text_area == 0.0
    assert scores.text_times == (0.0, 0.001)
