"""Clocks that restart or jump: the order in which a player shows frames, and gaps without recording."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from manifests.records import Clip, ClipMedia, Video
from pipeline.media.media_store import MediaReader, MediaTar
from pipeline.media.timestamps import Track, find_gaps, find_joins
from pipeline.steps.extract import Extract, ExtractInput, ExtractSettings, Frames
from pipeline.steps.split import Split, SplitSettings
from tests.media import AAC, STRIPES, X264, beeps, made, number_of, numbered, onset, pixels, samples, video_of, written

CASES = Path(os.environ.get("OLA_TEST_CASES") or Path(__file__).resolve().parents[2].parent / "shared" / "cases")
MPEG2 = ("-c:v", "mpeg2video", "-qscale:v", "2")
MP2 = ("-c:a", "mp2")
HOUR = 3600.0


@dataclass(frozen=True)
class Seen:
    """What became of a file."""

    video: Video
    clips: list[Clip]
    footage: list[ClipMedia]
    root: Path

    def numbers(self, n: int) -> list[int]:
        """Numbers that the frames of clip `n` bear."""
        data, sizes = MediaReader(str(self.root))(self.footage[n].frames), self.footage[n].frame_bytes
        ends = np.cumsum([0, *sizes])
        return [number_of(pixels(data[a:b])) for a, b in pairwise(int(end) for end in ends)]

    def sound(self, n: int) -> NDArray[np.int16]:
        """Sound of clip `n`."""
        sound = self.footage[n].sound
        assert sound is not None
        return samples(MediaReader(str(self.root))(sound))


def seen(path: Path, root: Path, shortest: float = 2.0) -> Seen:
    """Ingest, split and extract a file. No clip may cross a gap or a join."""
    video = video_of(path)
    split, extract = Split(SplitSettings(shortest=shortest)), Extract(ExtractSettings(frames=Frames(fps=5)))
    split.scratch = extract.scratch = str(root)
    [clips] = split.run([video])
    assert isinstance(clips, list), clips
    extract.media = MediaTar("media.tar", str(root / "media.tar"))
    answers = extract.run([ExtractInput(clip, video) for clip in clips])
    assert all(isinstance(answer, list) for answer in answers), answers
    for clip in clips:
        bounds = [round(1000 * piece.start) for piece in video.pieces]
        assert not any(clip.start_ms < bound < clip.end_ms for bound in bounds), (clip, bounds)
        assert not any(1000 * g.start + 1 < clip.end_ms and clip.start_ms < 1000 * g.end - 1 for g in video.gaps), clip
    return Seen(video, clips, [answer[0] for answer in answers if isinstance(answer, list)], root)


@cache
def joined(name: str, *pieces: Path) -> Path:
    """The pieces byte by byte one after the other."""
    path = written(name, "")
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return path


def piece(name: str, *options: str, size: str = "64x48", codec: tuple[str, ...] = X264) -> Path:
    """3 s of numbered frames at 25/s, and a beep at 1.0 s."""
    return numbered(name, 75, *options, size=size, codec=codec)


RESTARTS = {
    "the same": lambda: (piece("a.ts"), piece("a.ts")),
    "another size": lambda: (piece("a.ts"), piece("b.ts", size="96x48")),
    "another codec": lambda: (piece("a.ts"), piece("c.ts", *MP2, codec=MPEG2)),
    "a lower clock": lambda: (piece("late.ts", "-output_ts_offset", "5000"), piece("a.ts")),
    "over the wrap": lambda: (piece("wrap.ts", "-output_ts_offset", "95442"), piece("a.ts")),
    "program stream": lambda: (
        piece("a.mpg", *MP2, codec=MPEG2),
        piece("b.mpg", *MP2, size="96x64", codec=MPEG2),
    ),
    "matroska": lambda: (piece("a.mkv"), piece("b.mkv", size="96x48")),
}


@pytest.mark.parametrize("kind", RESTARTS)
def test_recordings_follow_each_other_on_one_clock(kind: str, tmp_path: Path) -> None:
    pieces = RESTARTS[kind]()
    found = seen(joined(f"joined{pieces[0].suffix}", *pieces), tmp_path)
    alone = [video_of(path) for path in pieces]
    assert len(found.video.pieces) == len(found.clips) == 2
    assert not found.video.gaps
    assert found.video.duration == pytest.approx(sum(video.duration for video in alone), abs=0.002)
    assert found.clips[1].start_ms == found.clips[0].end_ms == pytest.approx(1000 * alone[0].duration, abs=1)
    assert found.clips[1].end_ms == pytest.approx(1000 * found.video.duration, abs=1)
    for n, each in enumerate(alone):
        part = found.video.pieces[n]
        assert (part.codec, part.width, part.height) == (each.codec, each.width, each.height)
        numbers = found.numbers(n)
        assert numbers == sorted(numbers)
        assert (numbers[0] < 5, numbers[-1] > 66) == (True, True)
        assert found.clips[n].frames == 75
        assert onset(found.sound(n)) == pytest.approx(1.0, abs=0.15)
    ratios = [footage.width / footage.height for footage in found.footage]
    assert ratios == [pytest.approx(each.width / each.height, rel=0.15) for each in alone]


def test_frames_and_sound_of_a_later_recording_are_those_of_it_alone(tmp_path: Path) -> None:
    first, second = RESTARTS["another size"]()
    (tmp_path / "alone").mkdir()
    both, alone = seen(joined("both.ts", first, second), tmp_path), seen(second, tmp_path / "alone")
    assert both.numbers(1) == alone.numbers(0)
    assert both.footage[1].frame_ms == alone.footage[0].frame_ms
    assert np.array_equal(both.sound(1), alone.sound(0)[: len(both.sound(1))])


@pytest.mark.parametrize("name", ["paused.ts", "paused.mkv", "paused.mp4", "silent.ts"])
def test_no_clip_lies_in_a_gap(name: str, tmp_path: Path) -> None:
    found = seen(paused(name), tmp_path)
    [gap] = found.video.gaps
    assert [gap.start, gap.end] == pytest.approx([3.0, 3.0 + HOUR], abs=0.15)
    assert found.video.duration == pytest.approx(HOUR + 6, abs=0.2)
    assert found.video.frame_rate == pytest.approx(25, abs=1)
    assert [round(clip.start_ms / 1000) for clip in found.clips] == [0, 3603]
    assert [round(clip.end_ms / 1000) for clip in found.clips] == [3, 3606]
    assert found.numbers(0)[-1] < 75 <= found.numbers(1)[0] < 82
    assert found.numbers(1)[-1] > 140
    assert all(clip.longest_gap is not None and clip.longest_gap < 0.3 for clip in found.clips)
    if found.video.sound is not None:
        assert [onset(found.sound(n)) for n in (0, 1)] == [pytest.approx(1.0, abs=0.15)] * 2


def paused(name: str) -> Path:
    """6 s of picture and sound, with a pause of an hour after 3 s; a beep a second after each half begins."""
    picture = f"color=black:s=64x48:r=25,format=yuv420p,{STRIPES},setpts='PTS+gte(N,75)*{HOUR}/TB'"
    sound = ("-f", "lavfi", "-i", f"{beeps(1.0, 4.0)},asetpts='PTS+gte(T,3)*{HOUR}/TB'", *AAC)
    options = ("-frames:v", "150", "-fps_mode", "passthrough", "-muxdelay", "0", *X264, "-g", "25")
    heard = () if name.startswith("silent") else sound
    return made(name, "-f", "lavfi", "-i", picture, *heard[:4], *options, *heard[4:], "-t", str(HOUR + 6))


def test_a_standing_picture_with_sound_is_no_gap(tmp_path: Path) -> None:
    picture = "color=black:s=64x48:r=25,format=yuv420p,select='lt(n,25)+gte(n,500)'"
    options = ("-fps_mode", "passthrough", "-t", "24", *X264, *AAC)
    slides = made("stands.ts", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=f=440:r=48000", *options)
    found = seen(slides, tmp_path, shortest=13)
    assert not found.video.gaps
    assert not found.video.pieces
    assert [(clip.start_ms, round(clip.end_ms, -2)) for clip in found.clips] == [(0, 24000)]
    assert found.clips[0].longest_gap == pytest.approx(19.04, abs=0.1)
    assert found.clips[0].frames == pytest.approx(125, abs=2)


def test_slides_without_sound_are_no_gaps(tmp_path: Path) -> None:
    slides = made("slides.mkv", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=1/10", "-t", "60", *X264)
    found = seen(slides, tmp_path)
    assert not found.video.gaps
    assert sum(clip.frames or 0 for clip in found.clips) == 6
    assert all(clip.longest_gap == pytest.approx(10, abs=0.1) for clip in found.clips)


def test_a_clock_that_wraps_once_is_no_restart(tmp_path: Path) -> None:
    found = seen(piece("wrap.ts", "-output_ts_offset", "95442"), tmp_path)
    assert not found.video.pieces
    assert not found.video.gaps
    assert len(found.clips) == 1
    assert found.clips[0].frames == 75


def track(*seconds: float, positions: Sequence[int] | None = None, length: float = 0.04) -> Track:
    made = Track(tick=1.0 / 90000)
    for n, second in enumerate(seconds):
        at = n * 100 if positions is None else positions[n]
        made.add(round(second * 90000), round((second + length) * 90000), at)
    return made


def test_small_steps_back_and_stray_stamps_are_no_joins() -> None:
    times = [n / 25 for n in range(50)]
    jitter = [time - 0.5 * (n % 7 == 0) for n, time in enumerate(times)]
    stray = [time + 1000 * (n == 20) for n, time in enumerate(times)]
    for clock in (times, jitter, stray):
        assert not find_joins(track(*clock), Track(), "mpegts")


def test_sound_alone_that_restarts_is_no_join() -> None:
    sound = track(*[n / 50 for n in range(100)], *[n / 50 for n in range(100)])
    assert not find_joins(track(*[n / 25 for n in range(100)]), sound, "mpegts")


def test_packets_of_both_recordings_lie_between_its_parts() -> None:
    picture = track(*[n / 25 for n in range(50)], *[n / 25 for n in range(50)], positions=range(0, 10000, 100))
    times = [*[n / 25 for n in range(58)], *[n / 25 for n in range(42)]]  # the old sound goes on for 8 packets
    [join] = find_joins(picture, track(*times, positions=range(50, 10050, 100)), "mpegts")
    assert (join.end, join.start, join.last) == (5000, 5850, 4900)


@pytest.mark.parametrize(
    ("sound", "expected"), [((), [(1.0, 61.0)]), ((0.5, 30.5, 61.0), [(1.0, 30.5), (30.54, 61.0)])]
)
def test_a_gap_has_neither_picture_nor_sound(sound: Sequence[float], expected: list[tuple[float, float]]) -> None:
    shown = np.array([n / 25 for n in range(25)] + [61 + n / 25 for n in range(25)])
    found = find_gaps(shown, track(*sound))
    assert [pytest.approx(span, abs=0.01) for span in found] == expected


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there: set OLA_TEST_CASES")
def test_the_cases_that_were_found_in_use(tmp_path: Path) -> None:
    jumped = seen(CASES / "jump_1h.ts", tmp_path)
    assert len(jumped.video.gaps) == 1
    assert sum(c.end_ms - c.start_ms for c in jumped.clips) < 10_000
    restarted = seen(CASES / "clock_restarts.ts", tmp_path)
    assert len(restarted.video.pieces) == 2
    assert restarted.video.duration == pytest.approx(8.28, abs=0.1)
    assert all(onset(restarted.sound(n)) == pytest.approx(3.0, abs=0.1) for n in (0, 1))
