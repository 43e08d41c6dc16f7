"""Compute what the second sense adds: the accuracy from both senses less that from one, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from manifests.parquet_files import read_parquet

Z = 1.959964  # of a two-sided interval of 95 %
SINGLE = {"picture": "sound", "sound": "picture"}  # view of one sense -> the sense that it lacks


class Gain(NamedTuple):
    """The gain of a sense in accuracy, with its 95 % interval. questions: asked under both views."""

    sense: str
    value: float
    low: float
    high: float
    questions: int

    def __str__(self) -> str:
        """Return `sound adds +12.0 points [+4.1, +19.9] over 150 questions`."""
        points = [f"{100 * each:+.1f}" for each in (self.value, self.low, self.high)]
        return f"{self.sense} adds {points[0]} points [{points[1]}, {points[2]}] over {self.questions} questions"


def paired_gain(sense: str, pairs: Sequence[tuple[bool, bool]]) -> Gain:
    """Return the gain of paired answers (right from both senses, right from one).

    The interval is the adjusted one of Agresti and Min (2005): half an answer more in each of the four cells.
    """
    count = len(pairs)
    won, lost = (sum(pair == kind for pair in pairs) for kind in ((True, False), (False, True)))
    tried, difference = count + 2, won - lost
    centre = difference / tried
    half = Z * math.sqrt(won + lost + 1 - difference**2 / tried) / tried
    return Gain(sense, difference / count, max(-1.0, centre - half), min(1.0, centre + half), count)


def gains_of(folder: str, suite: str, found: Mapping[str, object]) -> list[Gain]:
    """Return the gains of a suite whose views were asked; folder: of the answers."""
    both = _scores(folder, suite)
    gains = []
    for view, sense in SINGLE.items():
        if f"{suite}-{view}" in found:
            single = _scores(folder, f"{suite}-{view}")
            shared = [(both[name], single[name]) for name in both if name in single]
            gains += [paired_gain(sense, shared)] if shared else []
    return gains


def _scores(folder: str, suite: str) -> dict[str, bool]:
    rows = read_parquet(f"{folder}/answers/{suite}.parquet").select(["id", "score"]).to_pylist()
    return {row["id"]: row["score"] == 1 for row in rows}
