"""Estimate the seconds of a step from an earlier run, with the start of its workers apart from its work.

A worker's first video holds the start of its process: imports, weights, first calls. A larger run has about as many
starts as a small one, so they are counted once, and only the rest grows with the hours of video.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pipeline.forecast.estimate import Estimate, ratio_estimate

BUSY = 2.0  # factor by which seconds differ where a machine is busier or idler
SLOW = 5.0  # times the median rate, from which a video is taken to hold a start; videos alike differ by 2 to 3
STARTS = 4  # most starts of a step; more slow videos than that are a property of the videos
LEAST_VIDEOS = 3  # for a median that one start does not move


def estimate_seconds(seconds: Sequence[float], hours: Sequence[float], expected: Estimate) -> Estimate:
    """Return the seconds for `expected` hours of video. seconds, hours: of the earlier run, by video.

    The greatest value takes slow videos for a property of the videos: the input may hold more of them.
    """
    starts = start_seconds(seconds, hours)
    work = [whole - start for whole, start in zip(seconds, starts, strict=True)]
    rate = ratio_estimate(work, hours, BUSY)
    all_starts = sum(starts)
    whole = sum(seconds) / sum(hours) if sum(hours) else 0.0
    high = max(rate.high * expected.high + BUSY * all_starts, BUSY * whole * expected.high)
    return Estimate(rate.low * expected.low, rate.middle * expected.middle + all_starts, high)


def start_seconds(seconds: Sequence[float], hours: Sequence[float]) -> list[float]:
    """Return the seconds of each video beyond the median rate, of the slowest videos if they are far beyond it."""
    rates = [taken / length for taken, length in zip(seconds, hours, strict=True) if taken > 0 and length > 0]
    if len(rates) < LEAST_VIDEOS:
        return [0.0] * len(seconds)
    usual = [median(rates) * length for length in hours]
    beyond = [
        taken - each if taken > SLOW * each else 0.0 for taken, each in zip(seconds, usual, strict=True)
    ]  # fmt: skip
    slowest = sorted(range(len(beyond)), key=lambda n: -beyond[n])[:STARTS]
    return [each if n in slowest else 0.0 for n, each in enumerate(beyond)]
