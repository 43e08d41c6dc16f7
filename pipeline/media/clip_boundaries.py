"""Plan the clips of a video from a `Scan` and the shortest and longest length of a clip.

Clips cover the whole video, in whole milliseconds. They end at scene changes, preferably in a pause of the audio: half
a sentence or half a scene teaches little.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.media.scan import Scan

# Costs of a boundary; the plan with the lowest sum wins. In sound with pauses (speech), a boundary at a scene cut in
# mid-sentence costs more than one at a pause with the scene cut inside a clip. In sound without pauses (music, noise),
# every scene cut becomes a boundary. GRID boundaries pay only where a clip would be too long or too short.
CUT_IN_PAUSE, CUT_IN_SOUND, PAUSE, CUT_IN_SPEECH, GRID = 0, 1, 2, 6, 8
CUT_INSIDE = 3
NEAR = 10_000  # ms; few sentences are longer: sound without a pause this near is not speech

GRID_STEP = 1000  # ms; nobody hears a finer grid
GRID_STEPS = 60  # at most, in a clip of the greatest length: bounds the time of planning
TICK = 100  # ms; unit of lengths in the measure of evenness, so that sums of squares fit an int64

Milliseconds = NDArray[np.int64]


def plan_clips(scan: Scan, shortest: float, longest: float) -> list[tuple[int, int]]:
    """Return (start_ms, end_ms) of each clip, without gap or overlap, from 0 to the end of the video.

    `shortest` and `longest` are seconds. A video shorter than `shortest` has no clips. All lengths are within both
    limits if any number n of clips allows this (n * shortest <= duration <= n * longest). If no number does, only
    `longest` holds: the clips are as few as it allows, of equal length. Among plans of equal cost, the plan with the
    most even lengths is chosen. Raises ValueError unless 0 < shortest <= longest.
    """
    least, most, total = (round(seconds * 1000) for seconds in (shortest, longest, scan.duration))
    if not 0 < least <= most:
        raise ValueError(f"clips of {shortest} s to {longest} s: shortest must be above 0 and not above longest")
    if total < least:
        return []
    fewest = -(-total // most)
    times, costs, cuts = _candidates(scan, total, most, fewest)
    ends = _cheapest_boundaries(times, costs, cuts, min(least, total // fewest), most)
    return list(pairwise(ends))


def crop_scan(scan: Scan, start: float, end: float) -> Scan:
    """Return the part of a scan between two times in seconds; the clock of the result begins at `start`."""

    def crop(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
        inside = ((max(a, start) - start, min(b, end) - start) for a, b in spans)
        return tuple((a, b) for a, b in inside if a < b)

    return replace(
        scan,
        duration=end - start,
        cuts=tuple(cut._replace(t=cut.t - start) for cut in scan.cuts if start < cut.t < end),
        black=crop(scan.black),
        frozen=crop(scan.frozen),
        silences=crop(scan.silences),
    )


def _candidates(scan: Scan, total: int, most: int, fewest: int) -> tuple[Milliseconds, Milliseconds, Milliseconds]:
    """Return the times at which a clip may end, the cost of each, and the scene cuts, all in ms and ascending."""
    # a fade through black changes the scene without a jump between frames
    cuts = _inner_times(total, [cut.t for cut in scan.cuts], map(_middle, scan.black))
    quiet = [(round(a * 1000), round(b * 1000)) for a, b in scan.silences]
    costs = dict.fromkeys(_grid_times(cuts, total, most, fewest), GRID if scan.has_sound else PAUSE)
    costs |= dict.fromkeys(_inner_times(total, map(_middle, scan.silences)), PAUSE)
    costs |= {t: _cut_cost(quiet, t) if scan.has_sound else CUT_IN_PAUSE for t in cuts}
    costs |= {0: 0, total: 0}
    times = sorted(costs)
    return (
        np.array(times, dtype=np.int64),
        np.array([costs[time] for time in times], dtype=np.int64),
        np.array(cuts, dtype=np.int64),
    )


def _grid_times(cuts: Sequence[int], total: int, most: int, fewest: int) -> set[int]:
    """Return times that always allow a plan: equal parts of the whole and of each scene, and a fine grid."""
    times = set(range(0, total, max(GRID_STEP, most // GRID_STEPS)))
    times |= {total * n // fewest for n in range(fewest)}
    for start, end in zip((0, *cuts), (*cuts, total), strict=True):
        parts = -(-(end - start) // most)
        times |= {start + (end - start) * n // parts for n in range(1, parts)}
    return times


def _cheapest_boundaries(
    times: Milliseconds, costs: Milliseconds, cuts: Milliseconds, least: int, most: int
) -> list[int]:
    """Return the boundaries of the cheapest plan, by dynamic programming over the candidates."""
    first = np.searchsorted(times, times - most)
    last = np.searchsorted(times, times - least, side="right")
    cuts_before = np.searchsorted(cuts, times)
    cuts_until = np.searchsorted(cuts, times, side="right")
    # above any sum of squared lengths: evenness decides only between plans of equal cost
    unit = int(times[-1] // TICK + 1) * (most // TICK + 1)
    never = np.iinfo(np.int64).max // 2
    best = np.full(len(times), never, dtype=np.int64)
    origin = np.zeros(len(times), dtype=np.int64)
    best[0] = 0
    for n in range(1, len(times)):
        starts = slice(first[n], last[n])
        if first[n] >= last[n]:
            continue
        lengths = (times[n] - times[starts]) // TICK
        sums = best[starts] + unit * CUT_INSIDE * (cuts_before[n] - cuts_until[starts]) + lengths * lengths
        choice = int(sums.argmin())
        if sums[choice] < never:
            best[n] = sums[choice] + unit * costs[n]
            origin[n] = first[n] + choice
    return _trace_back(times, origin)


def _trace_back(times: Milliseconds, origin: Milliseconds) -> list[int]:
    place = len(times) - 1
    ends = [int(times[place])]
    while place:
        place = int(origin[place])
        ends.append(int(times[place]))
    return ends[::-1]


def _inner_times(total: int, *seconds: Iterable[float]) -> list[int]:
    times = {round(second * 1000) for group in seconds for second in group}
    return sorted(time for time in times if 0 < time < total)


def _middle(span: tuple[float, float]) -> float:
    return (span[0] + span[1]) / 2


def _cut_cost(quiet: Sequence[tuple[int, int]], time: int) -> int:
    """Return the cost of a cut at `time`, by the pause around it or the distance to the nearest pauses."""
    place = bisect_right(quiet, time, key=lambda span: span[0])
    around = quiet[max(0, place - 1) : place + 1]
    if any(start <= time <= end for start, end in around):
        return CUT_IN_PAUSE
    near = any(min(abs(time - start), abs(time - end)) <= NEAR for start, end in around)
    return CUT_IN_SPEECH if near else CUT_IN_SOUND
