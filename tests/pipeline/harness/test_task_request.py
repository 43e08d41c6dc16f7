"""Requests made of tasks: media in their forms, chat messages, generation options, and what is refused."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ola.prompt import Request, Wave
from pipeline.errors import BadMedia, ConfigError
from pipeline.harness.task_media import TaskMedium, load_media
from pipeline.harness.task_request import decoding_options, make_request
from tests.media import ffmpeg, number_of, numbered, pattern

RED = Image.new("RGB", (8, 6), "red")
WAVE = {"array": np.zeros(160, np.float64), "sampling_rate": 16000}


def load(given: Any, kind: str) -> list[TaskMedium]:
    return list(load_media(given, 4, kind))


def kinds(given: Any, kind: str = "") -> list[str]:
    return [medium.kind for medium in load(given, kind)]


def png() -> bytes:
    file = io.BytesIO()
    RED.save(file, "PNG")
    return file.getvalue()


def test_forms_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png())
    forms = [RED, np.zeros((6, 8, 3), np.uint8), str(tmp_path / "red.png"), tmp_path / "red.png", {"bytes": png()},
             f"data:image/png;base64,{base64.b64encode(png()).decode()}", {"type": "image", "url": RED},
             {"type": "image", "url": f"file://{tmp_path}/red.png"}]  # fmt: skip
    assert [kinds(form) for form in forms] == [["image"]] * len(forms)
    assert kinds([RED, [RED]]) == ["image", "image"]
    assert kinds(None) == []


def test_forms_of_sounds(tmp_path: Path) -> None:
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=np.zeros((2, 80)), sample_rate=8000))
    (stereo,) = load(decoder, "video")
    assert (stereo.kind, stereo.value.rate, stereo.value.samples.shape) == ("sound", 8000, (2, 80))
    (plain,) = load(WAVE, "")
    assert (plain.value.samples.dtype, plain.value.rate) == (np.float32, 16000)
    wav = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5:sample_rate=8000", wav)
    assert kinds(str(wav)) == kinds(str(wav), "video") == kinds({"type": "audio", "url": str(wav)}) == ["sound"]


def test_forms_of_videos() -> None:
    film = pattern("film.mp4", 2)
    assert kinds(str(film)) == ["video", "track"]
    assert kinds({"type": "video", "path": str(film)}) == ["video", "track"]
    (frames,) = load([RED] * 9, "video")
    assert (frames.kind, len(frames.value)) == ("video", 4)
    assert kinds(np.zeros((3, 6, 8, 3), np.uint8)) == ["video"]


def test_a_span_of_a_video() -> None:
    film = numbered("plain.mp4", 100)
    whole, part = (load({"type": "video", "url": str(film), **span}, "video")[0].value
                   for span in ({}, {"start_time": 2.0, "end_time": 3.0}))  # fmt: skip
    numbers = [[number_of(np.asarray(picture)) for picture in pictures] for pictures in (whole, part)]
    rate = (numbers[0][1] - numbers[0][0]) / 1.0
    assert numbers[0][0] < numbers[1][0] <= numbers[1][-1] < numbers[0][-1], rate
    with pytest.raises(BadMedia, match="expected a span within its 4"):
        load({"url": str(film), "start_time": 3.0, "end_time": 2.0}, "video")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "expected an image, a sound, a path or an object of these, got int"),
        ("https://example.org/film.mp4", "expected a file on this machine"),
        ({"frames": []}, "expected an object with url, path"),
        (np.zeros((6, 8)), r"expected uint8 \(height, width, 3\)"),
    ],
)
def test_forms_that_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(given, "")
    with pytest.raises(BadMedia, match="not a picture"):
        load({"bytes": b"no picture"}, "")


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def request(*messages: dict[str, Any], **options: Any) -> Request:
    return make_request(messages, options, load)


def test_media_come_before_the_text_whatever_stands_between_them() -> None:
    asked = request(
        {"role": "system", "content": "Be brief."},
        user(text("first "), {"type": "image", "url": RED}, text("or"), {"type": "image", "url": RED}),
    )
    assert (asked.text, len(asked.images), asked.system, asked.history) == ("first\nor", 2, "Be brief.", ())
    assert request(user(text("?"))).system == Request().system


def test_a_video_is_heard_unless_a_sound_is_given() -> None:
    film = {"type": "video", "url": str(pattern("film.mp4", 2))}
    alone = request(user(film, text("what?")))
    assert (alone.video is not None, len(alone.sounds)) == (True, 1)
    beside = request(user(film, {"type": "audio", "url": WAVE}, text("what?")))
    assert [len(sound.samples) for sound in beside.sounds if isinstance(sound, Wave)] == [160]
    with pytest.raises(ConfigError, match="at most one video"):
        request(user(film, film, text("what?")))


def test_a_sound_without_words_is_the_question() -> None:
    asked = request(user({"type": "audio", "url": WAVE}))
    assert (asked.spoken_question is not None, asked.sounds, asked.text) == (True, (), "")
    assert request(user({"type": "audio", "url": WAVE}, text("who?"))).spoken_question is None


def test_earlier_turns_are_history() -> None:
    asked = request(user({"type": "image", "url": RED}, text("one?")), {"role": "assistant", "content": "one"},
                    user({"type": "image", "url": RED}, text("two?")))  # fmt: skip
    assert (asked.history, asked.text, list(asked.media_turns)) == ((("one?", "one"),), "two?", [0, 1])


def test_generation_options() -> None:
    greedy = {"max_new_tokens": 16, "temperature": 0.0, "top_p": 1.0, "stop": ("\n", "Q:")}
    options = {
        "max_new_tokens": 16,
        "until": ["\n\n", "", "\n", "Q:"],
        "do_sample": False,
        "temperature": 0.7,
        "top_p": 0.5,
    }
    assert decoding_options(options) == greedy
    sampled = decoding_options({"do_sample": True, "temperature": 0.7, "top_p": 0.5, "until": "###", "num_beams": None})
    assert sampled == {"max_new_tokens": 1024, "temperature": 0.7, "top_p": 0.5, "stop": ("###",)}
    assert decoding_options({"temperature": None, "top_p": None, "until": None})["temperature"] == 0
    with pytest.raises(ConfigError, match="num_beams: expected 1, got 5"):
        decoding_options({"num_beams": 5})
