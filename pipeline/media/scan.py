"""One cheap pass over a whole video: cuts, motion, frozen and black pictures, pauses and loudness.

In: a local video file, its duration and which of its streams is the sound. Out: a `Scan`, and from it the
scores of any span. ffmpeg's own detectors print what they find as text, which is read while it comes: eight
hours have a million frames. Picture and sound have a filter graph each: in a shared one ffmpeg holds back
decoded frames until both have begun (950 MB instead of 44 for a sound that began at 100 s).
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

# On a 720p trailer of 55 s: the five cuts of a full decode, to the frame, in 0.55 times its time. Key frames
# alone took 0.03 times, but found two of them and three that are not there.
CHEAP = {"threads": 1, "skip_frame": "noref", "skip_loop_filter": "all"}

# Metadata is printed whole, and a file can bring its own: it is deleted before the detectors add theirs. All
# see the same 160 pixels in one pixel format, so that thresholds mean the same for every source. scdet's
# documentation calls 8 to 14 good; on the trailer cuts score 18.9 and more, all else 5.1 and less.
FROZEN = 2.0  # seconds without a change, ffmpeg's default; a shorter one is a held shot
PICTURE_CHAIN = (
    "metadata=mode=delete,scale=160:-2:flags=fast_bilinear,format=yuv420p,scdet=threshold=10,"
    f"freezedetect=noise=0.001:duration={FROZEN},blackdetect,metadata=mode=print:file=/dev/fd/{{}}"
)
# ebur128 goes first: it makes frames of 100 ms, and of those it joins only the first would keep its metadata.
# -40 dB found the five pauses of a reading to 0.3 s; -35 dB also took the ends of words and quiet music.
PAUSE = 0.25  # seconds; a shorter one is within a word
SOUND_CHAIN = (
    "ametadata=mode=delete,ebur128=metadata=1:framelog=quiet,"
    f"silencedetect=noise=-40dB:duration={PAUSE},ametadata=mode=print:file=/dev/fd/{{}}"
)
RESTART = 100.0  # score of a cut where the picture's format changes: the detectors begin anew and see none

BLOCK = 0.4  # seconds of a gating block, ITU-R BS.1770-4 annex 1
OFFSET = -0.691  # dB, from mean square to LUFS, likewise
SILENT, BELOW = -70.0, -10.0  # LUFS and LU: the absolute and the relative gate, likewise
ROUNDING = 0.001  # spans come in whole milliseconds

# What ffmpeg adds after it has said why.
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
    """The picture cannot be scanned; the text ends with ffmpeg's reason."""


class Cut(NamedTuple):
    """A change of scene: the first frame of the new one, in seconds, and ffmpeg's score, 0..100."""

    t: float
    score: float


class Series(NamedTuple):
    """Values over time: two float64 arrays of equal length; times in seconds, ascending."""

    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What one pass found. Times are seconds on the video's own clock: 0 is the container's start time.

    motion: mean absolute difference of each decoded frame to the decoded one before, 0..100 (ffmpeg's mafd);
    frozen, black, silences: disjoint (start, end), ascending, within 0..duration. Where no picture or sound
    comes (late start, early end, a hole of some length), it counts as frozen or silent;
    loudness: momentary LUFS of the 400 ms that end at each time, every 100 ms; empty if there is no sound;
    sound_error: why a sound stream gave nothing, or None.
    """

    duration: float
    cuts: tuple[Cut, ...]
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

    What cannot be decoded is passed over; sound that cannot be decoded at all costs the sound alone, and is
    named in `sound_error`. Raises ScanError if ffmpeg fails or no frame comes out.
    """
    run, lost = _run(path, sound, picture), None
    if sound is not None and not (run.code == 0 and run.heard.values):
        lost, run = run.reason, run if run.code == 0 else _run(path, None, picture)
    if run.code != 0 or not run.seen.values:
        raise ScanError(f"{os.path.basename(path_of(path))} cannot be scanned: {run.reason}")
    return Scan(
        duration=duration,
        cuts=tuple(cut for cut in sorted(run.seen.cuts) if 0 < cut.t < duration),
        motion=run.seen.series(),
        frozen=run.seen.spans("freeze", duration),
        black=run.seen.spans("black", duration),
        silences=run.heard.spans("silence", duration) if run.heard.values else (),
        loudness=run.heard.series(),
        sound_error=lost,
    )


def scores(scan: Scan, start: float, end: float) -> dict[str, float | None]:
    """Scores of start..end seconds: motion, frozen, black, silence and loudness, as `Clip` defines them."""
    # a difference at `start` or `end` is often that across a cut, and not within the span
    first, last = np.searchsorted(scan.motion.times, (start + ROUNDING, end - ROUNDING))
    motion = scan.motion.values[first:last]
    return {
        "motion": float(motion.mean()) if len(motion) else 0.0,
        "frozen": _share(scan.frozen, start, end),
        "black": _share(scan.black, start, end),
        "silence": _share(scan.silences, start, end) if scan.has_sound else None,
        "loudness": _integrated(scan.loudness, start, end),
    }


def _share(spans: Sequence[Span], start: float, end: float) -> float:
    first, last = bisect_right(spans, start, key=lambda span: span[1]), bisect_left(spans, (end,))
    covered = sum(min(until, end) - max(since, start) for since, until in spans[first:last])
    return min(1.0, covered / (end - start))


def _integrated(loudness: Series, start: float, end: float) -> float | None:
    """Gated loudness of the blocks that lie within the span, after ITU-R BS.1770-4 annex 1."""
    first, last = np.searchsorted(loudness.times, (start + BLOCK - ROUNDING, end + ROUNDING))
    blocks = loudness.values[first:last]
    blocks = blocks[blocks > SILENT]
    if not len(blocks):
        return None
    return _mean_loudness(blocks[blocks > _mean_loudness(blocks) + BELOW])


def _mean_loudness(blocks: Floats) -> float:
    return OFFSET + 10 * float(np.log10(np.mean(10 ** ((blocks - OFFSET) / 10))))


class _Readings:
    """What the detectors of one stream print, frame after frame.

    key: that of the series; frame: its seconds, 0 if they vary; more than `gap` seconds without a frame are a
    span named `hole`.
    """

    def __init__(self, key: str, *, frame: float, gap: float, hole: str) -> None:
        self.key, self.frame, self.gap, self.hole = key, frame, gap, hole
        self.now = self.until = self.score = 0.0
        self.times, self.values, self.cuts = array("d"), array("d"), list[Cut]()
        self.open: dict[str, float] = {}
        self.done: defaultdict[str, list[Span]] = defaultdict(list)

    def take(self, lines: Iterable[str]) -> None:
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
                self.cuts.append(Cut(self.now, self.score))
            else:
                self._edge(key, value)

    def series(self) -> Series:
        """The values, sorted: where a stream's format changes, its frames may overlap."""
        order = np.argsort(self.times, kind="stable")
        return Series(np.array(self.times)[order], np.array(self.values)[order])

    def spans(self, name: str, duration: float) -> tuple[Span, ...]:
        """Spans of one name, without overlap, within 0..duration; to be asked for when all is read."""
        self._arrive(duration)
        self._close(name, duration)
        merged: list[Span] = []
        for since, until in sorted((max(0.0, a), min(b, duration)) for a, b in self.done[name]):
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
            self.cuts.append(Cut(self.now, RESTART))
        self._arrive(self.now)
        self.until = self.now + self.frame

    def _edge(self, key: str, value: str) -> None:
        name, _, edge = key.rpartition(".")[2].rpartition("_")  # as in lavfi.freezedetect.freeze_start
        if edge == "start":
            self.open[name] = float(value)
        elif edge == "end":
            self._close(name, float(value))

    def _arrive(self, now: float) -> None:
        if now - self.until > self.gap:
            self.done[self.hole].append((self.until, now))

    def _close(self, name: str, end: float) -> None:
        if name in self.open:
            self.done[name].append((self.open.pop(name), end))


class _Run(NamedTuple):
    code: int
    complaints: Sequence[str]
    seen: _Readings
    heard: _Readings

    @property
    def reason(self) -> str:
        said = (line.strip() for line in reversed(self.complaints) if not line.startswith(AFTERMATH))
        last = next(filter(None, said), f"ffmpeg ended with {self.code} and said nothing")
        return re.sub(r" @ 0x\w+", "", last)  # an address differs from run to run


def _run(path: Local, sound: int | None, picture: int | None) -> _Run:
    seen = _Readings("lavfi.scd.mafd", frame=0.0, gap=FROZEN, hole="freeze")
    heard = _Readings("lavfi.r128.M", frame=0.1, gap=PAUSE, hole="silence")
    complaints = deque[str](maxlen=50)
    ear, mouth = os.pipe()
    with open(ear, "rb") as sound_text, ThreadPoolExecutor(3) as pool:
        try:
            command = _command(path, sound, picture, mouth)
            process = Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, pass_fds=(mouth,))
        finally:
            os.close(mouth)
        with process:
            # a thread empties each pipe, or ffmpeg would stop at a full one
            readers = [
                pool.submit(_read, process.stdout, seen.take),
                pool.submit(_read, sound_text, heard.take),
                pool.submit(_read, process.stderr, complaints.extend),
            ]
            try:
                for reader in readers:
                    reader.result()
            except BaseException:
                process.kill()
                raise
    check_not_killed(process.returncode)
    return _Run(process.returncode, complaints, seen, heard)


def _read(pipe: IO[bytes] | None, take: Callable[[Iterable[str]], None]) -> None:
    assert pipe is not None
    with TextIOWrapper(pipe, encoding="utf-8", errors="replace") as lines:
        take(lines)


def _command(path: Local, sound: int | None, picture: int | None, mouth: int) -> list[str]:
    import ffmpeg

    source = ffmpeg.input(safe_url(path), noautorotate=None, **CHEAP, **whitelists(path))
    pictures = source["V:0" if picture is None else str(picture)]
    outputs = [ffmpeg.output(pictures, "-", format="null", vf=PICTURE_CHAIN.format(1), fps_mode="passthrough")]
    if sound is not None:
        outputs.append(ffmpeg.output(source[str(sound)], "-", format="null", af=SOUND_CHAIN.format(mouth)))
    # by default ffmpeg fails if two thirds of the frames cannot be decoded
    merged = ffmpeg.merge_outputs(*outputs).global_args("-v", "error", "-max_error_rate", "1", *AS_STAMPED)
    return list(merged.compile(cmd=ffmpeg_exe()))
