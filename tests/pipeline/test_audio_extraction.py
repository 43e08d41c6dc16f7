"""Sound of clips: at the right time in every codec, silent in holes, and without memory for what is not asked for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.media.audio import RATE, AudioTimeline
from pipeline.media.audio_extraction import ClipRequest
from pipeline.media.extraction import extract_clips
from tests.media import AAC, X264, beeps, made, numbered, onset, video_of
from tests.pipeline.test_extraction import VP9, begins_of, renderer_of

FILM = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=9")
CENTRE = "aevalsrc='0|0|0.9*cos(2*PI*1000*t)*between(t,4,4.1)|0|0|0':s=48000:c=5.1:d=9"
BEEP = 4.0


def heard(name: str, sound: str = f"{beeps(BEEP)}:d=9", *options: str | Path, before: tuple[str, ...] = ()) -> Path:
    codecs = options or (*X264, *AAC)
    return made(name, *FILM, *before, "-f", "lavfi", "-i", sound, *codecs)


SOUNDS: dict[str, Callable[[], Path]] = {
    "aac": lambda: heard("aac.mp4"),
    "aac at 44.1 kHz": lambda: heard("cd.mp4", f"{beeps(BEEP, rate=44100)}:d=9"),
    "opus": lambda: heard("opus.webm", f"{beeps(BEEP)}:d=9", *VP9, "-c:a", "libopus"),
    "flac at 96 kHz": lambda: heard("flac.mkv", f"{beeps(BEEP, rate=96000)}:d=9", *X264, "-c:a", "flac"),
    "pcm at 8 kHz": lambda: heard("pcm.mov", f"{beeps(BEEP, rate=8000)}:d=9", *X264, "-c:a", "pcm_s16le"),
    "mp3": lambda: heard("mp3.mp4", f"{beeps(BEEP)}:d=9", *X264, "-c:a", "libmp3lame"),
    "5.1, in the centre": lambda: heard("surround.mp4", CENTRE),
    "begins late": lambda: heard("late.mp4", f"{beeps(1.0)}:d=3", before=("-itsoffset", "3")),
    "begins late, mkv": lambda: heard("late.mkv", f"{beeps(1.0)}:d=3", before=("-itsoffset", "3")),
    "has a hole": lambda: heard(
        "hole.mkv", f"{beeps(BEEP)}:d=9,aselect='not(between(t,1,3.5))'", *X264, "-c:a", "pcm_s16le"
    ),
    "mpeg-ts": lambda: heard("heard.ts"),
    "marked as default": lambda: heard(
        "tracks.mkv",
        f"{beeps(BEEP)}:d=9",
        *X264,
        *AAC,
        *("-map", "0", "-map", "1", "-map", "2", "-disposition:a:0", "0", "-disposition:a:1", "default"),
        *("-metadata:s:a:1", "language=deu"),
        before=("-f", "lavfi", "-i", f"{beeps(1.0)}:d=9"),
    ),
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_beep_stands_at_its_time_in_the_sound_of_its_clip(kind: str) -> None:
    path = SOUNDS[kind]()
    video = video_of(path)
    end = round(video.duration * 1000)
    requests = [
        ClipRequest(0, 3000, (1.0,)),
        ClipRequest(3000, 3950, (3.5,)),
        ClipRequest(3950, 6000, (5.0,)),
        ClipRequest(6000, end, (7.0,)),
    ]
    found = []
    for request, clip in zip(requests, extract_clips(str(path), video, requests, renderer_of(video)), strict=True):
        assert clip.pcm is not None
        assert len(clip.pcm) == 32 * (request.end_ms - request.start_ms)
        at = onset(np.frombuffer(clip.pcm, dtype="<i2"))
        found.append(None if at is None else at + request.start_ms / 1000)
    # the picture of the same moment is the clock: mpeg-ts starts it with the sound's lead-in of 21 ms
    assert found == [None, None, pytest.approx(BEEP + begins_of(path, video)[0], abs=0.005), None]


def test_a_sound_that_ends_early_is_silence_from_there_and_holds_no_clip_back() -> None:
    path = heard("early.mp4", f"{beeps(1.0)}:d=2")
    video = video_of(path)
    requests = [ClipRequest(n * 1000, n * 1000 + 1000, (n + 0.5,)) for n in range(9)]
    sounds = [
        np.frombuffer(clip.pcm or b"", dtype="<i2")
        for clip in extract_clips(str(path), video, requests, renderer_of(video))
    ]
    assert [onset(sound) for sound in sounds] == [None, pytest.approx(0, abs=0.005), *[None] * 7]
    assert all(len(sound) == 16000 for sound in sounds)


def test_a_video_without_sound_has_none() -> None:
    path = numbered("mute.mp4", 50, sound=False)
    video = video_of(path)
    (clip,) = extract_clips(str(path), video, [ClipRequest(0, 2000, (1.0,))], renderer_of(video))
    assert (video.sound, clip.pcm) == (None, None)


def tone(second: float) -> Any:
    """A second of sound that says it begins at that time."""
    import av

    frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 9, dtype=np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), round(second * RATE)
    return frame


def heard_at(*seconds: float, first: int, last: int) -> AudioTimeline:
    timeline = AudioTimeline(first, last)
    for second in seconds:
        timeline.add(tone(second), 0.0)
    timeline.flush()
    return timeline


def test_a_hole_of_a_day_is_silence_and_takes_no_memory() -> None:
    day = 86400
    timeline = heard_at(0, day, first=0, last=(day + 1) * RATE)
    assert sum(len(piece) for _, piece in timeline.pieces) == 4 * RATE
    assert timeline.take_pcm(0, 2 * RATE) == b"\x09\0" * RATE + bytes(2 * RATE)
    assert timeline.take_pcm(day * RATE, (day + 1) * RATE) == b"\x09\0" * RATE


def test_only_what_is_asked_for_is_held() -> None:
    timeline = heard_at(0, 1, 2, 3, first=RATE, last=2 * RATE)
    assert sum(len(piece) for _, piece in timeline.pieces) == 2 * RATE
    assert timeline.take_pcm(RATE, 2 * RATE) == b"\x09\0" * RATE
    assert timeline.pieces == []


def test_a_clock_that_goes_back_overwrites() -> None:
    timeline = heard_at(0, 1, 0.5, first=0, last=3 * RATE)
    assert timeline.take_pcm(0, 2 * RATE) == b"\x09\0" * (RATE * 3 // 2) + bytes(RATE)
