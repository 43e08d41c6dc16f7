"""Find texts that are nearly those of benchmarks: MinHash of pairs of neighbouring words, candidates by banded hashing.

Texts are cut into windows of WINDOW words, those of benchmarks at every STRIDE-th word and all others at every word, so
that a copied stretch is found wherever it begins. The similarity of two windows is the share of the word pairs of
both that both have (Jaccard), estimated by the share of HASHES random orders of all pairs in which both windows have
the same first pair. The orders are constants: the same texts have the same similarity on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.text_metrics import words

WINDOW, STRIDE = 24, 6  # words
SHORTEST = 13  # words of a text that is compared; shorter ones of unlike meaning differ in one or two words
LEAST_PAIRS = 8  # unlike pairs of a window: "la la la" is like every other "la la la"
BANDS, ROWS = 40, 3  # a pair of windows of similarity 0.6 is a candidate with a chance of 0.9999
HASHES = BANDS * ROWS  # the estimate has a standard deviation of 0.045
LEAST = 0.58  # similarity of a hit: two words of 24 changed leave 0.70, three 0.59; unlike texts of one form reach 0.56
PROMISING = 0.5  # share of a window's pairs that stand in benchmarks, from which the window is compared
MIX = np.uint64(0x9E3779B97F4A7C15)
Numbers = NDArray[np.uint64]


@dataclass(frozen=True)
class NearHit:
    """A stretch of a text that is like one of a benchmark: the benchmark's words, and the estimated similarity."""

    words: str
    similarity: float


def _constants(name: str) -> Numbers:
    """Return a random number for each order, the same on every machine."""
    digests = b"".join(blake2b(f"{name} {n}".encode(), digest_size=8).digest() for n in range(HASHES))
    return np.frombuffer(digests, "<u8").astype(np.uint64)


FACTORS, OFFSETS = _constants("factor") | np.uint64(1), _constants("offset")


@lru_cache(maxsize=1 << 16)
def _number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def _pair_numbers(spoken: Sequence[str]) -> Numbers:
    """Return a number for each pair of neighbouring words."""
    numbers = np.array([_number(word) for word in spoken], np.uint64)
    mixed = (numbers[:-1] * MIX + numbers[1:]) * MIX
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))


def _usable_windows(pairs: Numbers) -> NDArray[np.int64]:
    """Return the first word of each window that has enough unlike pairs."""
    if len(pairs) < SHORTEST - 1:
        return np.zeros(0, np.int64)
    windows = np.sort(_windows(pairs), axis=1)
    return np.flatnonzero(1 + (windows[:, 1:] != windows[:, :-1]).sum(1) >= LEAST_PAIRS)


def _windows(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values of the pairs of each window, (windows, pairs); one window for a shorter text."""
    return np.lib.stride_tricks.sliding_window_view(values, min(WINDOW - 1, len(values)), axis=0)


def _signatures(pairs: Numbers, starts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the signatures of the windows that begin at some words, (windows, HASHES)."""
    ordered = ((pairs[:, None] * FACTORS + OFFSETS) >> np.uint64(32)).astype(np.uint32)
    return np.asarray(_windows(ordered)[starts].min(-1))


def _bands(signatures: NDArray[np.uint32]) -> Numbers:
    """Return a number for each band of each window, (windows, BANDS); bands of unlike places are unlike."""
    rows = signatures.astype(np.uint64).reshape(len(signatures), BANDS, ROWS)
    total = np.broadcast_to(np.arange(BANDS, dtype=np.uint64) * MIX, rows.shape[:2])
    for row in range(ROWS):
        total = (total ^ rows[:, :, row]) * MIX
        total = total ^ (total >> np.uint64(31))
    return np.asarray(total)


class NearTexts:
    """The windows of benchmark texts, by which near-copies are found."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.windows: list[str] = []
        signatures, pairs = [np.zeros((0, HASHES), np.uint32)], [np.zeros(0, np.uint64)]
        for text in texts:
            spoken = words(text)
            pairs.append(_pair_numbers(spoken))
            starts = _usable_windows(pairs[-1])
            starts = starts[(starts % STRIDE == 0) | (starts == len(spoken) - WINDOW)]
            signatures.append(_signatures(pairs[-1], starts) if len(starts) else signatures[0])
            self.windows += [" ".join(spoken[start : start + WINDOW]) for start in starts.tolist()]
        self.signatures, self.pairs = np.concatenate(signatures), np.unique(np.concatenate(pairs))

    @cached_property
    def _index(self) -> tuple[Numbers, NDArray[np.int64]]:
        """Return the bands of all windows, sorted, and the window of each."""
        bands = _bands(self.signatures).ravel()
        order = np.argsort(bands, kind="stable")
        return bands[order], order // BANDS

    def find(self, text: str) -> NearHit | None:
        """Return the most similar stretch of a benchmark, the first of equal ones; None if none is similar enough."""
        pairs = _pair_numbers(words(text))
        starts = self._promising_windows(pairs)
        if not len(starts):
            return None
        signatures = _signatures(pairs, starts)
        found = self._candidates(signatures)
        shares = (self.signatures[found[:, 0]] == signatures[found[:, 1]]).mean(1)
        best = int(np.argmax(shares)) if len(shares) else -1
        if best < 0 or shares[best] < LEAST:
            return None
        return NearHit(self.windows[found[best, 0]], round(float(shares[best]), 3))

    def _promising_windows(self, pairs: Numbers) -> NDArray[np.int64]:
        """Return the first word of each window of which half of the pairs stand in benchmarks: few texts have one."""
        starts = _usable_windows(pairs)
        if not len(starts) or not len(self.pairs):
            return starts[:0]
        places = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        known = _windows(self.pairs[places] == pairs)[starts].mean(-1)
        return np.asarray(starts[known >= PROMISING])

    def _candidates(self, signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the pairs (window of a benchmark, window of these) with an equal band, in order, (pairs, 2)."""
        bands, owners = self._index
        asked = _bands(signatures).ravel()
        begin, end = (np.searchsorted(bands, asked, side=side) for side in ("left", "right"))
        counts = end - begin
        theirs = owners[np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())]
        return np.unique(np.stack([theirs, np.repeat(np.arange(len(asked)) // BANDS, counts)], axis=1), axis=0)
