"""Compare moments at which the picture of a clip changes with moments at which something begins to sound.

    packets ─ sizes beyond their neighbours' ─┐
                                              ├─ two curves of 25 values a second ─ correlation at each lag
    samples ─ rises of the spectrum ──────────┘

The picture's curve follows from the sizes of the packets: what happens in a picture takes bytes. Stored frames are a
second apart, and a flash or the stroke of a hammer is between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.hashing.sounds import HOP, WINDOW, log_spectrum
from pipeline.media.audio import RATE
from pipeline.media.packet_sizes import PacketSizes

Curve = NDArray[np.float64]
CELL = 0.04  # seconds
LEAST_EVENTS = 4  # of each sense, under which a correlation tells nothing
APART = 0.2  # least seconds between two events
EVENT = 0.2  # of the highest value of a curve: what counts as an event
NEAR = 0.2  # seconds between picture and sound that count as none
FARTHEST = 3.0  # seconds of lag that are searched, at most a third of the clip
SPREAD = 0.06  # standard deviation of the blur of an event, in seconds
AROUND = 25  # pictures before and after, to whose median size a picture is compared
NOISE, CLEAR = 2.0, 4.0  # median absolute deviations of sizes, and of those of an event that counts as seen
LEAST_BITS = 0.03  # log2 of the least ratio of sizes that is a change
LEAST_RISE, USUAL_RISES = 1.0, 4.0  # natural logarithm, summed over bands; medians of the clip's rises
REGULAR = 12  # pictures between two key frames from which they may be regular


@dataclass(frozen=True)
class Activity:
    """How much happens in each cell of a clip for one sense, and the number of clear events."""

    curve: Curve
    events: int


NOTHING = Activity(np.zeros(0), 0)


@dataclass(frozen=True)
class Synchrony:
    """How well changes of the picture and beginnings of sounds agree, see `manifests.sync_records`."""

    sync: float
    lag: float
    peak: float


def measure_synchrony(seen: Activity, heard: Activity) -> Synchrony | None:
    """Return the correlation of both senses at lags near 0, and the lag with the highest one, in seconds.

    None where one of them has fewer than LEAST_EVENTS events.
    """
    cells = min(len(seen.curve), len(heard.curve))
    if min(seen.events, heard.events) < LEAST_EVENTS:
        return None
    reach = min(round(FARTHEST / CELL), cells // 3)
    lags = np.arange(-reach, reach + 1)
    a, b = _blur(seen.curve[:cells]), _blur(heard.curve[:cells])
    found = np.array([_correlation(a, b, int(lag)) for lag in lags])
    best = int(np.argmax(found))
    near = found[np.abs(lags) * CELL <= NEAR + CELL / 2].max()
    return Synchrony(float(near), float(lags[best] * CELL), float(found[best]))


def _correlation(seen: Curve, heard: Curve, lag: int) -> float:
    """Return Pearson's correlation where the sound is taken `lag` cells later; 0 without variation."""
    a, b = (seen[: len(seen) - lag], heard[lag:]) if lag >= 0 else (seen[-lag:], heard[:lag])
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def _blur(curve: Curve) -> Curve:
    reach = round(3 * SPREAD / CELL)
    weights = np.exp(-((np.arange(-reach, reach + 1) * CELL / SPREAD) ** 2) / 2)
    return np.convolve(curve, weights / weights.sum(), "same")


def count_events(curve: Curve) -> int:
    """Return the number of high values that are the highest of their neighbourhood."""
    if not len(curve):
        return 0
    reach = round(APART / CELL)
    padded = np.pad(curve, reach)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)
    is_event = (curve == highest) & (curve >= EVENT * max(curve.max(initial=0.0), 1e-9))
    return int((is_event & ~np.concatenate(([False], is_event[:-1]))).sum())


def picture_activity(packets: PacketSizes, start: float, end: float) -> Activity:
    """Return how much the picture changes between two times: log2 of the sizes of packets beyond the median around."""
    times, sizes, keys = _anchors(packets)
    inside = np.flatnonzero((times >= start - 1) & (times < end + 1))
    if len(inside) < 3:
        return NOTHING
    bits = np.log2(sizes[inside] + 1)
    usual = bits - _running_median(bits)
    usual[_regular_keys(keys)[inside]] = 0
    noise = float(np.median(np.abs(usual)))
    soft, clear = (
        _to_cells(times[inside] - start, np.sqrt(np.clip(usual - least * noise - LEAST_BITS, 0, None)), end - start)
        for least in (NOISE, CLEAR)
    )
    return Activity(soft, count_events(clear))


def _anchors(packets: PacketSizes) -> tuple[Curve, Curve, NDArray[np.bool_]]:
    """Return the middle, the bytes a picture and the kind of each group of pictures that ends at one shown later.

    A codec with B frames decodes the picture at the end of such a group first: it has the bytes of a change anywhere
    in the group.
    """
    order = np.maximum.accumulate(np.concatenate(([-np.inf], packets.times)))
    first = np.flatnonzero(packets.times > order[:-1])
    if not len(first):
        return np.zeros(0), np.zeros(0), np.zeros(0, np.bool_)
    counts = np.diff(np.append(first, len(packets.times)))
    ends = packets.times[first]
    begins = np.concatenate((ends[:1], ends[:-1]))
    step = np.median(np.diff(np.sort(packets.times))) if len(packets.times) > 1 else 0.0
    return (begins + ends + step) / 2, np.add.reduceat(packets.sizes, first) / counts, packets.keys[first]


def _regular_keys(keys: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which key frames come first, or at the longest distance of the file after another: those are no cuts."""
    places = np.flatnonzero(keys)
    regular = np.zeros(len(keys), np.bool_)
    regular[places[:1]] = True
    longest = np.diff(places).max(initial=0)
    if longest >= REGULAR:
        regular[places[np.isin(places - longest, places)]] = True
    return regular


def _running_median(values: Curve) -> Curve:
    padded = np.pad(values, AROUND, mode="reflect" if len(values) > AROUND else "edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1), axis=1))


def sound_activity(samples: NDArray[np.int16]) -> Activity:
    """Return how much more there is to hear than a moment before: rises of the log spectrum."""
    spectrum = log_spectrum(samples)
    if len(spectrum) < 5:
        return NOTHING
    smooth = np.stack([np.convolve(band, np.ones(3) / 3, "same") for band in spectrum.T], axis=1)
    rises = np.clip(smooth[2:] - smooth[:-2], 0, None).sum(1)
    rises[[0, -1]] = 0  # the ends are cut, not silent
    beyond = np.clip(rises - USUAL_RISES * float(np.median(rises)) - LEAST_RISE, 0, None)
    times = ((np.arange(len(rises)) + 1) * HOP + WINDOW / 2) / RATE
    curve = _to_cells(times, np.sqrt(beyond), len(samples) / RATE)
    return Activity(curve, count_events(curve))


def _to_cells(times: Curve, values: Curve, seconds: float) -> Curve:
    """Return the highest value in each cell."""
    cells = np.zeros(max(1, round(seconds / CELL)))
    places = np.floor(times / CELL).astype(np.int64)
    inside = (places >= 0) & (places < len(cells))
    np.maximum.at(cells, places[inside], values[inside])
    return cells
