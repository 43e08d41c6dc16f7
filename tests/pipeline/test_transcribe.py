"""Transcribe: which subtitles are taken, and what becomes of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manifests.records import Clip, Drop, Footage, Media, Source, Transcript, Video
from pipeline.errors import BadMedia
from pipeline.steps.ingest import Ingest
from pipeline.steps.transcribe import Heard, Transcribe, TranscribeSettings, sidecar_language
from tests.media import X264, made, numbered, written
from tests.runs import srt


def transcribed(video: Video, end_ms: int = 4000, **settings: Any) -> Transcript | Drop:
    step = Transcribe(TranscribeSettings(**settings))
    step.scratch = "scratch"
    (answer,) = step.run([heard(video, 0, end_ms)])
    return answer if isinstance(answer, Drop) else answer[0]


def heard(video: Video, start_ms: int, end_ms: int) -> Heard:
    name = f"{video.id}-{start_ms}"
    silent: dict[str, Any] = {"motion": 0.0, "frozen": 0.0, "black": 0.0, "silence": None, "loudness": None}
    clip = Clip(id=name, video=video.id, start_ms=start_ms, end_ms=end_ms, **silent)
    nothing = Media(uri="", offset=0, size=0)
    footage = Footage(id=name, clip=name, width=32, height=32, frames=nothing, frame_bytes=(), frame_ms=(), sound=None)
    return Heard(footage, clip, video)


def with_sidecars(folder: Path, *sidecars: tuple[str, str | bytes], film: Path | None = None) -> Video:
    names = []
    for name, content in sidecars:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        names.append(str(path))
    path = film or numbered("talk.mp4", 100)
    step = Ingest()
    step.scratch = "scratch"
    source = Source(id="s", uri=str(path), bytes=path.stat().st_size, sidecars=tuple(names))
    (answer,) = step.run([source])
    assert isinstance(answer, list)
    return answer[0]


def two_languages() -> Path:
    texts = [
        written(f"{language}.srt", srt((1.5, 3, text)))
        for language, text in (("eng", "good day"), ("deu", "guten Tag"))
    ]
    film = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=4")
    tags = ("-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=deu")
    inputs = ("-i", texts[0], "-i", texts[1], "-map", "0", "-map", "1", "-map", "2")
    return made("languages.mkv", *film, *inputs, *X264, "-c:s", "srt", *tags)


def test_a_sidecar_goes_before_a_text_stream(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((1, 2, "from the file"))), film=two_languages())
    found = transcribed(video)
    assert isinstance(found, Transcript)
    assert (found.origin, found.text, found.language) == ("sidecar", "from the file", None)
    found = transcribed(video, sources=("embedded", "sidecar"))
    assert isinstance(found, Transcript)
    assert (found.origin, found.text, found.language) == ("embedded", "good day", "eng")


@pytest.mark.parametrize(("wanted", "text"), [("de", "auf Deutsch"), ("en-GB", "in English"), ("fr", "in English")])
def test_the_language_that_is_asked_for(tmp_path: Path, wanted: str, text: str) -> None:
    english = "WEBVTT\n\n00:01.000 --> 00:02.000\nin English\n"
    sidecars = (("talk.ger.srt", srt((1, 2, "auf Deutsch"))), ("talk.en.vtt", english))
    found = transcribed(with_sidecars(tmp_path, *sidecars), language=wanted)
    assert isinstance(found, Transcript)
    assert found.text == text


def test_streams_bear_the_three_letters_of_a_language(tmp_path: Path) -> None:
    found = transcribed(with_sidecars(tmp_path, film=two_languages()), language="de")
    assert isinstance(found, Transcript)
    assert (found.text, found.track, found.language) == ("guten Tag", "stream 1", "deu")


def test_numbers_of_a_transcript(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((1, 2, "three short words"), (3, 4, "and more"))))
    found = transcribed(video)
    assert isinstance(found, Transcript)
    assert (found.words, found.coverage, found.word_times) == (5, 0.5, "interpolated")
    timed = "WEBVTT\n\n00:01.000 --> 00:02.000\none<00:00:01.300> two\n"
    found = transcribed(with_sidecars(tmp_path, ("talk.vtt", timed)))
    assert isinstance(found, Transcript)
    assert found.word_times == "given"


def test_a_clip_in_which_nothing_is_said(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((3, 4, "late"))))
    found = transcribed(video, end_ms=2000)
    assert isinstance(found, Drop)
    assert found.reason == "nothing said"
    assert transcribed(with_sidecars(tmp_path)) == Drop(
        "no subtitles", "neither of sidecar, embedded has any for the video"
    )


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02garbage" * 50, b"no cue in it"])
def test_subtitles_that_cannot_be_read_are_named_for_every_clip(tmp_path: Path, content: bytes) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", content))
    step = Transcribe()
    for start in (0, 2000):
        with pytest.raises(BadMedia, match=r"no subtitle can be read in .*talk\.srt"):
            step.run([heard(video, start, start + 2000)])


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("talk.srt", None),
        ("talk.en.srt", "en"),
        ("talk.pt-BR.vtt", "pt-br"),
        ("talk.final.srt", None),
        ("a.b.de.srt", "de"),
    ],
)
def test_language_of_a_sidecar(name: str, language: str | None) -> None:
    assert sidecar_language(f"folder/{name}") == language
