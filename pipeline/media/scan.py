"""Scan a whole video in one cheap pass: cuts, motion, frozen and black pictures, pauses and loudness.

ffmpeg's own detectors print their findings as text, which is read while it comes: eight hours have a million frames.
Picture and sound have a filter graph each. In a shared graph ffmpeg holds back decoded frames until both have begun
(950 MB instead of 44 for a sound that began at 100 s).
"""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import TextIOWrapper
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadMedia
from pipeline.media.byte_range import Local, path_of
from pipeline.media.safety import AS_STAMPED, check_not_killed, ffmpeg_exe, safe_url, whitelists

# On a 720p trailer of 55 s this found the five cuts of a full decode, to the frame, in 0.55 times its time. Key
# frames alone took 0.03 times, but found two of the cuts and three false ones.
CHEAP = {"threads": 1, "skip_frame": "noref", "skip_loop_filter": "all"}

# All metadata of a frame are printed, so those of the file are deleted before the detectors add theirs. Frames are
# scaled to 160 pixels in one pixel format, so that thresholds mean the same for every source. scdet's documentation
# calls thresholds of 8 to 14 good; on the trailer cuts score 18.9 and more, all else 5.1 and less.
FROZEN = 2.0  # seconds without a change, ffmpeg's default; a shorter still is part of a scene
PICTURE_CHAIN = (
    "metadata=mode=delete,scale=160:-2:flags=fast_bilinear,format=yuv420p,scdet=threshold=10,"
    f"freezedetect=noise=0.001:duration={FROZEN},blackdetect,metadata=mode=print:file=/dev/fd/{{}}"
)
# ebur128 goes first: it joins frames to 100 ms, which would lose metadata of earlier filters but the first frame's.
# -40 dB found the five pauses of a reading to 0.3 s; -35 dB also counted the ends of words and quiet music.
PAUSE = 0.25  # seconds; a shorter one is within a word
SOUND_CHAIN = (
    "ametadata=mode=delete,ebur128=metadata=1:framelog=quiet,"
    f"silencedetect=noise=-40dB:duration={PAUSE},ametadata=mode=print:file=/dev/fd/{{}}"
)
RESTART = 100.0  # score of a cut where the picture's format changes: the detectors restart there and miss it

BLOCK = 0.4  # seconds of a gating block, ITU-R BS.1770-4 annex 1
OFFSET = -0.691  # dB, from mean square to LUFS, likewise
SILENT, BELOW = -70.0, -10.0  # LUFS and LU: the absolute and the relative gate, likewise
ROUNDING = 0.001  # spans come in whole milliseconds

# Beginnings of the lines that ffmpeg prints after the reason.
AFTERMATH = (
    "Conversion failed",
    "Error opening",
    "Error parsing",
    "Failed to set",
    "Last message",
    "To ignore",
)

Span = tuple[float, float]
Floats = NDArray[np.float64]


class ScanError(BadMedia, ValueError):
    """The picture cannot be scanned; the message ends with ffmpeg's reason."""


class SceneCut(NamedTuple):
    """A change of scene: the time of the first frame after the cut, in seconds, and ffmpeg's score, 0..100."""

    t: float
    score: float


class Series(NamedTuple):
    """Values over time: two float64 arrays of equal length; times in seconds, ascending."""

    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What one pass found. Times are seconds on the video's own clock: 0 is the container's start time.

    motion: mean absolute difference of each decoded frame to the decoded one before, 0..100 (ffmpeg's mafd); frozen,
    black, silences: disjoint (start, end), ascending, within 0..duration. Times without picture or sound (late start,
    early end, holes) count as frozen or silent; loudness: momentary LUFS of the 400 ms that end at each time, every 100
    ms; empty if there is no sound; sound_error: why a sound stream gave nothing, or None.
    """

    duration: float
    cuts: tuple[SceneCut, ...]
    motion: Series
    frozen: tuple[Span, ...]
    black: tuple[Span, ...]
    silences: tuple[Span, ...]
    loudness: Series
    sound_error: str | None = None

    @property
    def has_sound(self) -> bool:
        """Whether any sound was decoded."""
        return len(self.loudness.times) > 0


def scan_video(path: Local, *, duration: float, sound: int | None, picture: int | None = None) -> Scan:
    """Scan streams `sound` and `picture` (numbers in the file; None: no sound, first picture) of `duration` seconds.

    Damaged data are skipped. If no sound can be decoded, the picture is scanned alone and `sound_error` has the reason.
    Raises ScanError if ffmpeg fails or no frame comes out.
    """
    run, lost = _run_ffmpeg(path, sound, picture), None
    if sound is not None and not (run.code == 0 and run.sound_output.values):
        lost, run = run.reason, run if run.code == 0 else _run_ffmpeg(path, None, picture)
    if run.code != 0 or not run.picture_output.values:
        raise ScanError(f"{os.path.basename(path_of(path))} cannot be scanned: {run.reason}")
    return Scan(
        duration=duration,
        cuts=tuple(cut for cut in sorted(run.picture_output.cuts) if 0 < cut.t < duration),
        motion=run.picture_output.series(),
        frozen=run.picture_output.spans("freeze", duration),
        black=run.picture_output.spans("black", duration),
        silences=run.sound_output.spans("silence", duration) if run.sound_output.values else (),
        loudness=run.sound_output.series(),
        sound_error=lost,
    )


def span_scores(scan: Scan, start: float, end: float) -> dict[str, float | None]:
    """Return the scores of start..end seconds: motion, frozen, black, silence and loudness, as `Clip` defines them."""
    # a difference at `start` or `end` is often across a cut, not within the span
    first, last = np.searchsorted(scan.motion.times, (start + ROUNDING, end - ROUNDING))
    motion = scan.motion.values[first:last]
    return {
        "motion": float(motion.mean()) if len(motion) else 0.0,
        "frozen": _covered_share(scan.frozen, start, end),
        "black": _covered_share(scan.black, start, end),
        "silence": _covered_share(scan.silences, start, end) if scan.has_sound else None,
        "loudness": _integrated_loudness(scan.loudness, start, end),
    }


def _covered_share(spans: Sequence[Span], start: float, end: float) -> float:
    first, last = bisect_right(spans, start, key=lambda span: span[1]), bisect_left(spans, (end,))
    covered = sum(min(until, end) - max(since, start) for since, until in spans[first:last])
    return min(1.0, covered / (end - start))


def _integrated_loudness(loudness: Series, start: float, end: float) -> float | None:
    """Return the gated loudness of the blocks within the span (ITU-R BS.1770-4 annex 1); None if all are silent."""
    first, last = np.searchsorted(loudness.times, (start + BLOCK - ROUNDING, end + ROUNDING))
    blocks = loudness.values[first:last]
    blocks = blocks[blocks > SILENT]
    if not len(blocks):
        return None
    return _mean_loudness(blocks[blocks > _mean_loudness(blocks) + BELOW])


def _mean_loudness(blocks: Floats) -> float:
    return OFFSET + 10 * float(np.log10(np.mean(10 ** ((blocks - OFFSET) / 10))))


class _DetectorOutput:
    """Parser of what the detectors of one stream print, frame after frame.

    key: that of the series; frame: its seconds, 0 if they vary; more than `gap` seconds without a frame are a span
    named `hole`.
    """

    def __init__(self, key: str, *, frame: float, gap: float, hole: str) -> None:
        self.key, self.frame, self.gap, self.hole = key, frame, gap, hole
        self.now = self.until = self.score = 0.0
        self.times, self.values, self.cuts = array("d"), array("d"), list[SceneCut]()
        self.open: dict[str, float] = {}
        self.closed: defaultdict[str, list[Span]] = defaultdict(list)

    def read_lines(self, lines: Iterable[str]) -> None:
        """Read lines like `frame:0 pts:0 pts_time:0` and `lavfi.black_start=0`."""
        for line in lines:
            key, found, value = line.partition("=")
            if not found:
                self._begin_frame(line)
            elif key == self.key:
                self.times.append(self.now + self.frame)
                self.values.append(float(value))
            elif key == "lavfi.scd.score":
                self.score = float(value)
            elif key == "lavfi.scd.time":
                self.cuts.append(SceneCut(self.now, self.score))
            else:
                self._add_edge(key, value)

    def series(self) -> Series:
        """Return the values in order of time: where a stream's format changes, its frames may overlap."""
        order = np.argsort(self.times, kind="stable")
        return Series(np.array(self.times)[order], np.array(self.values)[order])

    def spans(self, name: str, duration: float) -> tuple[Span, ...]:
        """Return the spans of one name, without overlap, within 0..duration. Call when all lines are read."""
        self._note_hole(duration)
        self._close(name, duration)
        merged: list[Span] = []
        for since, until in sorted((max(0.0, a), min(b, duration)) for a, b in self.closed[name]):
            if merged and since <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
            elif since < until:
                merged.append((since, until))
        return tuple(merged)

    def _begin_frame(self, line: str) -> None:
        self.now = float(line.rpartition(":")[2])
        if self.values and line.startswith("frame:0 "):
            for name in list(self.open):
                self._close(name, self.now)
            self.cuts.append(SceneCut(self.now, RESTART))
        self._note_hole(self.now)
        self.until = self.now + self.frame

    def _add_edge(self, key: str, value: str) -> None:
        name, _, edge = key.rpartition(".")[2].rpartition("_")  # as in lavfi.freezedetect.freeze_start
        if edge == "start":
            self.open[name] = float(value)
        elif edge == "end":
            self._close(name, float(value))

    def _note_hole(self, now: float) -> None:
        if now - self.until > self.gap:
            self.closed[self.hole].append((self.until, now))

    def _close(self, name: str, end: float) -> None:
        if name in self.open:
            self.closed[name].append((self.open.pop(name), end))


class _FfmpegRun(NamedTuple):
    code: int
    messages: Sequence[str]
    picture_output: _DetectorOutput
    sound_output: _DetectorOutput

    @property
    def reason(self) -> str:
        reasons = (line.strip() for line in reversed(self.messages) if not line.startswith(AFTERMATH))
        last = next(filter(None, reasons), f"ffmpeg ended with {self.code} and said nothing")
        return re.sub(r" @ 0x\w+", "", last)  # an address differs from run to run


def _run_ffmpeg(path: Local, sound: int | None, picture: int | None) -> _FfmpegRun:
    picture_output = _DetectorOutput("lavfi.scd.mafd", frame=0.0, gap=FROZEN, hole="freeze")
    sound_output = _DetectorOutput("lavfi.r128.M", frame=0.1, gap=PAUSE, hole="silence")
    messages = deque[str](maxlen=50)
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as sound_text, ThreadPoolExecutor(3) as pool:
        try:
            command = _command(path, sound, picture, write_end)
            process = Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, pass_fds=(write_end,))
        finally:
            os.close(write_end)
        with process:
            # a thread empties each pipe, or ffmpeg would stop at a full one
            readers = [
                pool.submit(_read, process.stdout, picture_output.read_lines),
                pool.submit(_read, sound_text, sound_output.read_lines),
                pool.submit(_read, process.stderr, messages.extend),
            ]
            try:
                for reader in readers:
                    reader.result()
            except BaseException:
                process.kill()
                raise
    check_not_killed(process.returncode)
    return _FfmpegRun(process.returncode, messages, picture_output, sound_output)


def _read(pipe: IO[bytes] | None, read_lines: Callable[[Iterable[str]], None]) -> None:
    assert pipe is not None
    with TextIOWrapper(pipe, encoding="utf-8", errors="replace") as lines:
        read_lines(lines)


def _command(path: Local, sound: int | None, picture: int | None, write_end: int) -> list[str]:
    import ffmpeg

    source = ffmpeg.input(safe_url(path), noautorotate=None, **CHEAP, **whitelists(path))
    pictures = source["V:0" if picture is None else str(picture)]
    outputs = [ffmpeg.output(pictures, "-", format="null", vf=PICTURE_CHAIN.format(1), fps_mode="passthrough")]
    if sound is not None:
        outputs.append(ffmpeg.output(source[str(sound)], "-", format="null", af=SOUND_CHAIN.format(write_end)))
    # by default ffmpeg fails if two thirds of the frames cannot be decoded
    merged = ffmpeg.merge_outputs(*outputs).global_args("-v", "error", "-max_error_rate", "1", *AS_STAMPED)
    return list(merged.compile(cmd=ffmpeg_exe()))
