"""Ingest: the facts of videos, and the reasons for other files."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Drop, Source, Video
from pipeline.errors import BadMedia, Unavailable
from pipeline.media.video_file import fetch_original
from pipeline.steps.ingest import Ingest, IngestSettings
from tests.media import AAC, X264, beeps, made, numbered, video_of, written

FILM = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=4")


def ingested(path: Path, settings: IngestSettings | None = None, **facts: Any) -> list[Video] | Drop:
    step = Ingest(settings)
    step.scratch = "scratch"
    (answer,) = step.run([Source(id="s", uri=str(path), bytes=path.stat().st_size, **facts)])
    return answer


def piece(source: Path, share: float, name: str) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    path = source.with_name(name)
    path.write_bytes(data[: int(len(data) * share)])
    return path


def raw(name: str, data: bytes) -> Path:
    path = written(name, "")
    path.write_bytes(data)
    return path


MPD = '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
FAULTS: dict[str, tuple[Callable[[], Path], str]] = {
    "empty": (lambda: written("empty.mp4", ""), "empty file"),
    "cut off, index at the end": (
        lambda: piece(numbered("plain.mp4", 100), 0.6, "cut.mp4"),
        r"not a video: an mp4 without its index \(moov\): cut off, or never finished",
    ),
    "cut off, index first": (
        lambda: piece(numbered("fast.mp4", 250, "-movflags", "+faststart"), 0.5, "cutfast.mp4"),
        r"truncated: \d\.\d s of 10\.0 s are there",
    ),
    "cut off, mkv": (
        lambda: piece(numbered("whole.mkv", 250), 0.5, "cut.mkv"),
        r"truncated: \d\.\d s of 10\.0 s are there",
    ),
    "garbage": (
        lambda: raw("garbage.mp4", random.Random(1).randbytes(50000)),
        "not a video: no container of video that is known here",
    ),
    "zeros": (lambda: raw("zeros.mp4", bytes(50000)), "not a video: only zeros: a download that never finished"),
    "text": (lambda: written("text.mp4", "Dear reader,\n" * 500), "not a video: text"),
    "web page": (
        lambda: written("page.mp4", "<!DOCTYPE html><html>"),
        "not a video: a web page: the download went wrong",
    ),
    "picture": (
        lambda: made("picture.png", "-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1"),
        "not a video: a picture",
    ),
    "archive": (lambda: raw("archive.mp4", b"PK\x03\x04" + bytes(100)), "not a video: an archive: unpack it"),
    "subtitles": (
        lambda: written("alone.srt", "1\n00:00:01,000 --> 00:00:02,000\nx\n"),
        "not a video: subtitles that lie beside no video of their name",
    ),
    "hls": (lambda: written("hls.mp4", "#EXTM3U\n#EXTINF:3.0,\nx.ts\n"), r"not a video: a playlist \(HLS\)"),
    "ffconcat": (lambda: written("c.mp4", "ffconcat version 1.0\nfile x\n"), r"not a video: a playlist \(ffconcat\)"),
    "dash": (lambda: written("dash.mp4", MPD), r"not a video: a playlist \(DASH\)"),
    "sdp": (lambda: written("sdp.mp4", "v=0\no=- 0 0 IN IP4 0.0.0.0\n"), r"not a video: a network description \(SDP\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_whole_video_says_why(fault: str) -> None:
    make, reason = FAULTS[fault]
    with pytest.raises(BadMedia, match=reason):
        ingested(make())


def with_cover() -> Path:
    cover = made("cover.png", "-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1")
    inputs = ("-f", "lavfi", "-i", "sine=d=2", "-i", cover, "-map", "0", "-map", "1")
    return made("cover.mp3", *inputs, "-c:v", "copy", "-disposition:v", "attached_pic", "-id3v2_version", "3")


def plain(size: str, seconds: str = "1") -> Path:
    return made(f"{size}.mp4", "-f", "lavfi", "-i", f"color=red:s={size}:r=5", "-t", seconds, *X264)


DROPS: dict[str, tuple[Callable[[], Path], str]] = {
    "sound": (lambda: made("sound.wav", "-f", "lavfi", "-i", "sine=d=1"), "no moving picture"),
    "sound with a cover": (with_cover, "no moving picture"),
    "2x2": (lambda: plain("2x2"), "picture too small"),
    "16x2000": (lambda: plain("16x2000"), "picture too small"),
    "10000x16": (lambda: plain("10000x16"), "picture too small"),
    "12000x9000": (lambda: plain("12000x9000", "0.2"), "picture too large"),
}


@pytest.mark.parametrize("drop", DROPS)
def test_a_video_that_a_rule_keeps_out(drop: str) -> None:
    make, reason = DROPS[drop]
    answer = ingested(make())
    assert isinstance(answer, Drop)
    assert answer.reason == reason
    assert answer.detail
    assert not reason.startswith("picture") or drop in answer.detail


def test_an_exact_copy_names_its_twin_and_is_not_read() -> None:
    sha256 = video_of(numbered("plain.mp4", 100)).sha256
    source = Source(id="s", uri="/nowhere.mp4", bytes=7, sha256=sha256, twin="/there.mp4")
    (answer,) = Ingest().run([source])
    assert answer == Drop(f"duplicate of {sha256[:20]}", "the same bytes as /there.mp4")


def test_a_file_replaced_since_it_was_listed_is_no_row(tmp_path: Path) -> None:
    path = numbered("plain.mp4", 100)
    stamp = str(path.stat().st_mtime_ns)
    assert isinstance(ingested(path, stamp=stamp), list)
    with pytest.raises(Unavailable, match="was replaced while the run was at work: run again"):
        ingested(path, stamp="another")


def test_later_steps_read_the_bytes_that_were_ingested_or_none(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    shutil.copy(numbered("plain.mp4", 100), path)
    answer = ingested(path, stamp=str(path.stat().st_mtime_ns))
    assert isinstance(answer, list)
    video, scratch = answer[0], str(tmp_path)
    assert fetch_original(video, scratch) == str(path)
    os.utime(path)
    assert fetch_original(video, scratch) == str(path)  # only touched
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Unavailable, match="was replaced"):
        fetch_original(video, scratch)
    path.unlink()
    with pytest.raises(BadMedia, match="the file is gone"):
        fetch_original(video, scratch)
    with pytest.raises(Unavailable, match="its folder is gone"):
        fetch_original(replace(video, uri="/not/mounted/video.mp4"), scratch)


def test_a_file_is_known_by_its_bytes_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "video.txt"
    path.write_bytes(numbered("plain.mp4", 100).read_bytes())
    assert video_of(path).id == video_of(numbered("plain.mp4", 100)).id


def test_facts_of_a_video() -> None:
    video = video_of(numbered("plain.mp4", 100))
    assert (video.duration, video.frames, video.frame_rate, video.variable_rate) == (4.0, 100, 25.0, False)
    assert (video.codec, video.coded_width, video.height, video.rotation) == ("h264", 160, 120, 0)
    assert (video.picture, video.sound, video.sounds[0].codec, video.sounds[0].rate) == (0, 1, "aac", 48000)


@pytest.mark.parametrize(
    ("name", "rate", "frames"), [("half.mkv", "25", 50), ("ntsc.mkv", "30000/1001", 60), ("slow.mp4", "5", 10)]
)
def test_frames_and_duration_are_counted_where_headers_are_silent(name: str, rate: str, frames: int) -> None:
    video = video_of(numbered(name, frames, rate=rate, sound=False))
    assert video.frames == frames
    assert video.frame_rate == pytest.approx(float(Fraction(rate)), rel=0.001)
    assert video.duration == pytest.approx(frames / video.frame_rate, abs=0.002)
    assert not video.variable_rate


def test_a_varying_rate_is_seen() -> None:
    slowing = ",settb=1/90000,setpts='if(lt(N,50),N*3600,180000+(N-50)*9000)'"
    passed = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000")
    video = video_of(numbered("vfr.mp4", 100, *passed, sound=False, filters=slowing))
    assert video.variable_rate
    assert video.duration == pytest.approx(2 + 49 * 0.1 + 0.1, abs=0.1)


def test_streams_with_their_languages() -> None:
    sounds = ("-f", "lavfi", "-i", f"{beeps(1.0)}:d=4", "-f", "lavfi", "-i", f"{beeps(2.0)}:d=4")
    text = written("words.srt", "1\n00:00:01,000 --> 00:00:02,000\nx\n")
    maps = ("-map", "0", "-map", "1", "-map", "2", "-map", "3")
    tags = ("-metadata:s:a:1", "language=deu", "-metadata:s:s:0", "language=fra")
    marks = ("-disposition:a:0", "0", "-disposition:a:1", "default")
    path = made("streams.mkv", *FILM, *sounds, "-i", text, *maps, *X264, *AAC, "-c:s", "srt", *tags, *marks)
    video = video_of(path)
    assert [(track.index, track.language) for track in video.sounds] == [(1, None), (2, "deu")]
    assert video.sound == 2
    assert [(track.position, track.language) for track in video.subtitles] == [(0, "fra")]


def test_a_short_picture_under_a_long_sound_is_whole() -> None:
    path = made("long.mkv", *FILM, "-f", "lavfi", "-i", "sine=d=30", *X264, *AAC)
    assert video_of(path).duration == pytest.approx(4.0, abs=0.05)


def test_one_frame_is_a_video_of_its_length() -> None:
    assert video_of(numbered("one.mp4", 1, sound=False)).duration == pytest.approx(0.04, abs=0.001)
