"""`ola chat` and `ola model` on a tiny model of random weights: output, user errors and speech."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from ola.processor import OlaProcessor
from pipeline.errors import BadMedia
from pipeline.media.user_media import load_image, load_sound, load_video
from tests.media import ffmpeg, number_of, numbered, pattern
from tests.ola import tiny
from tests.runs import ola


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model = tiny.model()
    model.save_pretrained(folder)
    OlaProcessor(tiny.tokenizer(), model.config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("picture") / "red.png"
    Image.new("RGB", (70, 40), "red").save(file)
    return file


def test_a_video_as_the_model_sees_it() -> None:
    frames, wave = load_video(str(numbered("plain.mp4", 100)), 5)
    assert [number_of(np.asarray(frame)) for frame in frames] == [10, 30, 50, 70, 90]
    assert all(side % 32 == 0 for side in frames[0].size)
    assert wave is None or len(wave.samples) > 0


def test_a_video_with_sound() -> None:
    frames, heard = load_video(str(pattern("seen.mp4", 2.0)), 64)
    assert 0 < len(frames) <= 64
    assert heard is not None
    assert heard.rate == 16_000
    assert abs(len(heard.samples) - 32_000) < 1600


def test_a_sound_keeps_its_rate_and_channels(tmp_path: Path) -> None:
    file = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=440:duration=1.5:sample_rate=44100", "-ac", "2", file)
    heard = load_sound(str(file))
    assert heard.samples.shape == (2, 66_150)
    assert heard.rate == 44_100
    assert 0.05 < np.abs(heard.samples).max() <= 1


def test_wrong_files_are_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no medium")
    for open_it in (lambda: load_image(str(text)), lambda: load_video(str(text), 2), lambda: load_sound(str(text))):
        with pytest.raises(BadMedia, match=r"notes\.txt: not a"):
            open_it()
    with pytest.raises(BadMedia, match="no sound in it"):
        load_sound(str(pattern("mute.mp4", 2.0, sound=False)))


def test_an_answer(folder: Path, picture: Path) -> None:
    video = pattern("seen.mp4", 2.0)
    asked = ("--image", picture, "--video", video, "--max-new-tokens", "12", "What is this?")
    said = ola("chat", "--model", folder, *asked)
    assert said.code == 0
    assert said.out.strip()
    assert said.out == ola("chat", "--model", folder, *asked).out
    assert said.out != ola("chat", "--model", folder, "--image", picture, "--max-new-tokens", "12", "What is this?").out


def test_a_spoken_answer(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    said = ola("chat", "--model", folder, "--speak", out, "--max-new-tokens", "40", "--temperature", "1", "Say.")
    assert said.code == 0
    with wave.open(str(out)) as file:
        assert file.getnframes() > 0


def test_a_conversation_remembers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("chat", "--model", str(folder), "--max-new-tokens", "5")
    command = [sys.executable, "-m", "pipeline", *words]
    twice = subprocess.run(command, input="Hello\nHello\n\n", capture_output=True, text=True, check=True).stdout
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
    once = ola(*words).out
    assert twice.startswith(once)
    assert twice != once + once


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--dtype", "bfloat17", "Hi"), "no dtype 'bfloat17'", 3),
        (("--device", "warp", "Hi"), "--device: expected a device (cpu, cuda, cuda:1, …), got 'warp'", 2),
        (("--sound", "absent.wav", "Hi"), "'absent.wav' does not exist", 2),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], message: str, code: int, folder: Path) -> None:
    said = ola("chat", "--model", folder, *arguments)
    assert message in said.err
    assert said.code == code
    assert "Traceback" not in said.err


def test_what_a_folder_holds(folder: Path, tmp_path: Path) -> None:
    whole = ola("model", folder)
    assert whole.code == 0
    assert "speech_encoder.beats" in whole.out
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    tensors = load_file(damaged / "model.safetensors")
    del tensors["visual_projector.image_sep"]
    save_file(tensors, damaged / "model.safetensors")
    said = ola("model", damaged)
    assert said.code == 1
    assert "missing visual_projector.image_sep [64]" in said.out
    nothing = ola("model", tmp_path)
    assert (nothing.code, "has no config.json" in nothing.err) == (3, True)
