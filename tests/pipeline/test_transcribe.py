"""Transcribe: choice of the source, unreadable subtitles, and clips without sound."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from manifests.records import Clip, ClipMedia, Drop, Media, Outcome, Source, Transcript, Video, Word
from manifests.schema import from_rows, to_table
from pipeline.annotation.asr_whisperx import RecogniserSettings, Speech
from pipeline.errors import BadMedia
from pipeline.media.audio import wav_bytes
from pipeline.media.hallucination import Stretch
from pipeline.media.media_store import MediaTar
from pipeline.media.subtitle_tracks import sidecar_language
from pipeline.steps.ingest import Ingest
from pipeline.steps.transcribe import Transcribe, TranscribeInput, TranscribeSettings
from tests.media import X264, made, numbered, written
from tests.runs import srt

if TYPE_CHECKING:
    from pipeline.annotation.asr_whisperx import Sound


class Ears:
    """Recognises a sound by its length: `word` for each whole second, nothing below one. Keeps what it was given."""

    def __init__(self, settings: RecogniserSettings) -> None:
        """Any settings do."""
        self.language, self.batches = settings.language, list[int]()

    def __call__(self, sounds: Sequence[Sound]) -> list[Speech]:
        self.batches.append(len(sounds))
        return [self.heard(len(sound) // 16000) for sound in sounds]

    def heard(self, seconds: int) -> Speech:
        words = tuple(Word(text=" word", start=n + 0.1, end=n + 0.9) for n in range(seconds))
        stretches = (Stretch(words, -0.5, 0.1, 1.5),) if words else ()
        return Speech(self.language or "en", 0.75, False, stretches, ((0.0, 9.0),))


def listener(root: Path, *sources: str, wordless: str = "drop", **settings: Any) -> Transcribe:
    ears = {"engine": "tests.pipeline.test_transcribe:Ears", "model": "ears", **settings}
    chosen = {"sources": sources or ("whisperx",), "whisperx": ears, "wordless": wordless}
    step = Transcribe(TranscribeSettings.model_validate(chosen))
    step.scratch, step.root = "scratch", str(root)
    step.open()
    return step


def sounding(root: Path, video: Video, *seconds: float | None) -> list[TranscribeInput]:
    """A clip of 4 s with a sound of so many seconds each, or none."""
    tar = MediaTar("clips.tar", str(root / "clips.tar"))
    clips = []
    for n, length in enumerate(seconds):
        sound = None if length is None else tar.add(f"{n}.wav", wav_bytes(bytes(2 * int(16000 * length))))
        clip = heard(video, 4000 * n, 4000 * (n + 1))
        clips.append(replace(clip, footage=replace(clip.footage, sound=sound)))
    tar.close()
    return clips


def transcribed(video: Video, end_ms: int = 4000, **settings: Any) -> Transcript | Drop:
    step = Transcribe(TranscribeSettings(**settings))
    step.scratch = "scratch"
    (answer,) = step.run([heard(video, 0, end_ms)])
    assert not isinstance(answer, BadMedia)
    return answer if isinstance(answer, Drop) else answer[0]


def heard(video: Video, start_ms: int, end_ms: int) -> TranscribeInput:
    name = f"{video.id}-{start_ms}"
    silent: dict[str, Any] = {"motion": 0.0, "frozen": 0.0, "black": 0.0, "silence": None, "loudness": None}
    clip = Clip(id=name, video=video.id, start_ms=start_ms, end_ms=end_ms, **silent)
    nothing = Media(uri="", offset=0, size=0)
    footage = ClipMedia(
        id=name, clip=name, width=32, height=32, frames=nothing, frame_bytes=(), frame_ms=(), sound=None
    )
    return TranscribeInput(footage, clip, video)


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
        "no subtitles", "none of sidecar, embedded has any for the video"
    )


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02garbage" * 50, b"no cue in it"])
def test_subtitles_that_cannot_be_read_are_named_for_every_clip(tmp_path: Path, content: bytes) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", content))
    step = Transcribe()
    for answer in step.run([heard(video, start, start + 2000) for start in (0, 2000)]):
        assert isinstance(answer, BadMedia)
        assert re.match(r"no subtitle can be read in .*talk\.srt", str(answer))


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


def test_clips_with_a_sound_are_recognised_together(tmp_path: Path) -> None:
    step = listener(tmp_path)
    first, silent, empty, last = step.run(sounding(tmp_path, with_sidecars(tmp_path), 2, None, 0.5, 3))
    assert step.recogniser.batches == [3]  # type: ignore[attr-defined]
    assert isinstance(first, list)
    assert isinstance(last, list)
    assert (first[0].text, last[0].text) == ("word word", "word word word")
    assert (silent, empty) == (
        Drop("no sound", "the clip has none to recognise"),
        Drop("nothing said", "no speech is recognised in the sound"),
    )
    (said,) = first
    assert (said.origin, said.track, said.word_times) == ("whisperx", "ears", "recognised")
    assert (said.language, said.language_probability, said.words) == ("en", 0.75, 2)
    (segment,) = said.segments
    assert (segment.avg_logprob, segment.no_speech_prob, segment.compression_ratio) == (-0.5, 0.1, 1.5)
    assert said.coverage == pytest.approx(0.45)
    assert (said.flagged, segment.flags) == (0.0, ())


def test_the_share_of_doubted_words_is_kept(tmp_path: Path) -> None:
    (answer,) = listener(tmp_path).run(sounding(tmp_path, with_sidecars(tmp_path), 6))
    assert isinstance(answer, list)
    assert (answer[0].flagged, answer[0].segments[0].flags) == (1.0, ("repeated",))
    table = to_table(Transcript, [Outcome(input="c", status="ok", seconds=0.1, records=(answer[0],))])
    assert from_rows(Transcript, table.to_pylist()) == answer


def test_sources_are_asked_in_the_order_given(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((1, 2, "from the file"))))
    for sources, texts in (
        (("sidecar", "whisperx"), ["from the file", "word word"]),  # the second clip has no cue
        (("whisperx", "sidecar"), ["word", "word word"]),
    ):
        answers = listener(tmp_path, *sources).run(sounding(tmp_path, video, 1, 2))
        assert [answer[0].text if isinstance(answer, list) else answer for answer in answers] == texts
    (answer,) = listener(tmp_path, "whisperx", "sidecar").run(sounding(tmp_path, video, None))
    assert isinstance(answer, list)
    assert answer[0].origin == "sidecar"


def test_a_recogniser_is_not_asked_for_what_subtitles_tell(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((1, 2, "one"), (5, 6, "two"))))
    step = listener(tmp_path, "sidecar", "embedded", "whisperx")
    step.run(sounding(tmp_path, video, 1, 2))
    assert step.recogniser.batches == []  # type: ignore[attr-defined]


def test_where_no_source_has_anything_each_is_told_of(tmp_path: Path) -> None:
    step = listener(tmp_path, "sidecar", "whisperx")
    answers = step.run(sounding(tmp_path, with_sidecars(tmp_path), None, 0))
    before = "none of sidecar has any for the video"
    assert answers == [
        Drop("no sound", f"{before}; the clip has none to recognise"),
        Drop("nothing said", f"{before}; no speech is recognised in the sound"),
    ]


def test_unreadable_subtitles_are_told_of_and_not_replaced(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", b"no cue in it"))
    (answer,) = listener(tmp_path, "sidecar", "whisperx").run(sounding(tmp_path, video, 2))
    assert isinstance(answer, BadMedia)


def test_a_recogniser_counts_where_it_is_asked() -> None:
    def facts(**settings: Any) -> dict[str, Any]:
        return Transcribe(TranscribeSettings.model_validate(settings)).facts()

    other = {"model": "small"}
    assert facts(whisperx=other) == facts()
    assert facts(sources=["whisperx"], whisperx=other) != facts(sources=["whisperx"])
    assert facts(sources=["whisperx"], whisperx={"batch_size": 2}) == facts(sources=["whisperx"])
