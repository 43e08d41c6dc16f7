"""Align two sequences of hashes in time: find the line b = slope * a + offset on which most hashes agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.hashing.pictures import Hashes

SLOPES = tuple(1.25 ** (n / 8) for n in range(-9, 10))  # up to a quarter faster or slower, and a little more


@dataclass(frozen=True)
class Alignment:
    """The longest run of agreeing hashes: time t of a is time slope * t + offset of b, in seconds.

    matched: hashes of a that agree with one of b near their place. expected: hashes of a with any of b near it.
    changes: how many of the matched differ clearly from the one before, plus one: a still has one.
    """

    slope: float
    offset: float
    matched: int
    expected: int
    changes: int

    @property
    def share(self) -> float:
        """Return the share of the overlap's hashes that agree."""
        return self.matched / self.expected if self.expected else 0.0


NONE = Alignment(1.0, 0.0, 0, 0, 0)


def distances(a: Hashes, b: Hashes) -> NDArray[np.uint8]:
    """Return the least number of differing bits between any two variants of the hashes, (len(a), len(b))."""
    bits = np.bitwise_count(a.T[:, None, :, None] ^ b.T[None, :, None, :])
    return np.asarray(bits.reshape(-1, len(a), len(b)).min(0))


@dataclass(frozen=True)
class Track:
    """Hashes of one clip, (times, variants), with their times in seconds, and the clip's length."""

    times: NDArray[np.float64]
    hashes: Hashes
    seconds: float


def align(a: Track, b: Track, near: int, slack: float, least: int) -> Alignment:
    """Return the best alignment of two sequences. near: bits in which agreeing hashes may differ.

    slack: seconds that an agreeing hash may lie beside the line. least: agreeing hashes of a that make a search worth
    its time.
    """
    if not len(a.times) or not len(b.times):
        return NONE
    agree = distances(a.hashes, b.hashes) <= near
    if agree.any(1).sum() < least:
        return NONE
    i, j = np.nonzero(agree)
    best = max((_best_offset(a, b, i, j, slope, slack) for slope in SLOPES), key=lambda found: found[0])
    return _measure(a, b, agree, best[1], best[2], slack)


def _best_offset(
    a: Track, b: Track, i: NDArray[np.int64], j: NDArray[np.int64], slope: float, slack: float
) -> tuple[float, float, float]:
    """Return (score, slope, offset) of the best line of one slope: hashes of a on it, then how close they lie to it."""
    offsets = b.times[j] - slope * a.times[i]
    order = np.argsort(offsets, kind="stable")
    offsets, rows = offsets[order], i[order]
    ends = np.searchsorted(offsets, offsets + 2 * slack, side="right")
    top = int(np.argmax(ends - np.arange(len(offsets))))
    score, offset = _score_line(rows[top : ends[top]], offsets[top : ends[top]], slack)
    return score - abs(math.log(slope)), slope, offset


def _score_line(rows: NDArray[np.int64], offsets: NDArray[np.float64], slack: float) -> tuple[float, float]:
    """Return (score, offset) of the line in the middle of some sorted offsets."""
    middle = float(offsets[len(offsets) // 2])
    aside = float(np.abs(offsets - middle).sum()) / len(offsets)
    return np.count_nonzero(np.bincount(rows)) - 0.6 * aside / slack, middle


def _measure(a: Track, b: Track, agree: NDArray[np.bool_], slope: float, offset: float, slack: float) -> Alignment:
    close, inside = neighbours(a, b, slope, offset, slack)
    matched = np.flatnonzero((agree & close).any(1) & inside)
    first = a.hashes[matched, 0]
    changes = 1 + int((np.bitwise_count(first[1:] ^ first[:-1]) > 6).sum()) if len(matched) else 0
    return Alignment(slope, offset, len(matched), int((close.any(1) & inside).sum()), changes)


def neighbours(
    a: Track, b: Track, slope: float, offset: float, slack: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which hashes of b lie near the place of each one of a on a line, and which of a have a place within b."""
    places = slope * a.times + offset
    inside = (places > -slack) & (places < b.seconds + slack)
    return np.abs(b.times[None] - places[:, None]) <= slack, inside
