"""Find breaks in a file's clock: joins, where another recording begins, and gaps, where nothing was recorded.

The first pass over a file notes every packet in a `Track` for the picture and one for the sound. The two tracks show

- joins: the clock jumps back, since recordings were joined byte by byte or a stream was captured while it restarted;
- gaps: the clock jumps forward, and neither picture nor sound lies in between.

MPEG clocks count 33 bits and begin anew after 26.5 hours. libav adds the lost bits, also to the clock of a later
recording that is lower than the first one's: such a join looks like a jump far ahead.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SETBACK = 1.0  # seconds back that count as a jump; some muxers write packets some frames out of order
GAP = 5.0  # seconds without picture and sound; shorter ones are lost packets of a stream
USUAL = 10  # times the 95th percentile of intervals between pictures: slides change seldom and irregularly
WRAP = (1 << 33) / 90000  # seconds that an MPEG clock counts
MPEG = frozenset({"mpegts", "mpeg"})
STRAY = 2  # packets; so few with another time than their neighbours are damage, not a recording
NEAR = 10.0  # seconds between the beginnings of sound and picture of a recording, at most

Floats = NDArray[np.float64]
Spans = list[tuple[float, float]]


@dataclass
class Track:
    """Packets of a stream in file order: their clock, when each ends (both in ticks), and byte position."""

    clock: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    positions: array[int] = field(default_factory=lambda: array("q"))
    tick: float = 1.0

    def add(self, clock: int, end: int, position: int | None) -> None:
        """Note a packet."""
        self.clock.append(clock)
        self.ends.append(end)
        self.positions.append(-1 if position is None else position)

    def restarts(self, wraps: bool) -> list[int]:
        """Return the numbers of the packets at which the clock begins anew. wraps: whether the clock counts 33 bits."""
        seconds = np.array(self.clock, dtype=np.float64) * self.tick
        if not _jumps(seconds, wraps).any():
            return []
        around = np.lib.stride_tricks.sliding_window_view(np.pad(seconds, STRAY, mode="edge"), 2 * STRAY + 1)
        return [int(n) + 1 for n in np.flatnonzero(_jumps(np.median(around, axis=1), wraps))]


def _jumps(seconds: Floats, wraps: bool) -> NDArray[np.bool_]:
    steps = np.diff(seconds)
    found = steps < -SETBACK
    if wraps:
        crossed = (seconds[:-1] < WRAP) & (seconds[1:] >= WRAP) & (steps > SETBACK)
        found |= crossed | (steps > WRAP / 2)
    return np.asarray(found)


@dataclass(frozen=True)
class Join:
    """The place where one recording ends, at byte `end`, and the next begins, at byte `start`.

    Packets of both recordings are mixed in between. `last`: byte position of the old recording's last packet;
    `setback`: seconds by which the clock jumps back.
    """

    end: int
    start: int
    last: int
    setback: float


def find_joins(picture: Track, sound: Track, container: str) -> list[Join]:
    """Return the joins of a file in order. container: libav's name of its format."""
    wraps = container in MPEG
    sound_restarts = sound.restarts(wraps)
    found = []
    for n in picture.restarts(wraps):
        position = picture.positions[n]
        near = _nearest_restart(sound, sound_restarts, position)
        ends, starts = _join_bounds(picture, n, sound, near)
        setback = (picture.clock[n - 1] - picture.clock[n]) * picture.tick
        found.append(Join(ends, starts, picture.positions[n - 1], setback))
    return found


def _nearest_restart(sound: Track, restarts: Sequence[int], position: int) -> int | None:
    """Return the restart of the sound that belongs to the restart of the picture at byte `position`, or None."""
    if not restarts:
        return None
    near = min(restarts, key=lambda n: abs(sound.positions[n] - position))
    between = abs(int(np.searchsorted(_fill_positions(sound.positions), position)) - near)
    lengths = np.median(np.diff(np.array(sound.clock))) * sound.tick if len(sound.clock) > 1 else 0.0
    return near if between * lengths < NEAR else None


def _join_bounds(picture: Track, n: int, sound: Track, m: int | None) -> tuple[int, int]:
    """Return the bytes at which the old recording ends and the new one begins, without packets of the other."""
    position = picture.positions[n]
    if m is None:
        return position, position
    first = min(position, sound.positions[m])
    late = max(picture.positions[n - 1], *(sound.positions[max(0, m - 50) : m] or [-1]))
    return (first, first) if late < first else (first, max(position, sound.positions[m]))


def _fill_positions(positions: Sequence[int]) -> NDArray[np.int64]:
    """Return positions with each unknown one (-1) replaced by the position before."""
    return np.maximum.accumulate(np.array(positions, dtype=np.int64))


def find_gaps(shown: Floats, sound: Track) -> Spans:
    """Return the spans, in seconds, longer than GAP without picture and sound.

    shown: display times of the pictures, ascending. Durations of pictures are not used: mp4 lengthens the last picture
    before a gap. A still picture with sound is not a gap. Without sound, a still picture is a gap only if it lasts far
    longer than the others.
    """
    if len(shown) < 2:
        return []
    intervals = np.diff(shown)
    until = shown[:-1] + np.median(intervals)
    least = max(GAP, USUAL * float(np.percentile(intervals, 95)))
    empty = [(float(until[n]), float(shown[n + 1])) for n in np.flatnonzero(shown[1:] - until > least)]
    return [span for hole in empty for span in _silent_parts(hole, sound)]


def _silent_parts(hole: tuple[float, float], sound: Track) -> Spans:
    """Return the parts of a hole in the picture that are longer than GAP and without sound."""
    begins = np.array(sound.clock, dtype=np.float64) * sound.tick
    lengths = np.array(sound.ends, dtype=np.float64) * sound.tick - begins
    ends = begins + np.minimum(lengths, 2 * np.median(lengths)) if len(begins) else begins  # mp4 lengthens the last one
    begins, ends = np.sort(begins), np.sort(ends)
    first, last = np.searchsorted(ends, hole[0], side="right"), np.searchsorted(begins, hole[1])
    starts = [hole[0], *ends[first:last]]
    until = [*begins[first:last], hole[1]]
    spans = ((max(float(a), hole[0]), min(float(b), hole[1])) for a, b in zip(starts, until, strict=True))
    return [(a, b) for a, b in spans if b - a > GAP]
