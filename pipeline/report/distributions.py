"""Histograms of scores, for train and val apart, with the thresholds that are in force."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.score_table import VIEWS, ScoreTable

BARS = 36
LANGUAGES = 12  # shown; the others are one bar
COMPARISON = r"\b{name}\s*(>=|>|<=|<)\s*(-?\d+(?:\.\d+)?)"
UNITS = {"seconds": "s", "loudness": "LUFS", "longest_gap": "s"}


@dataclass(frozen=True)
class Threshold:
    """A value that a condition compares a score with. origin: the condition or the setting."""

    value: float
    origin: str


@dataclass(frozen=True)
class Histogram:
    """Counts of a score's values in bars of equal width from `low` to `high`; the last bar has all larger values.

    missing: number of clips without a value. middle: the median.
    """

    name: str
    unit: str
    low: float
    high: float
    train: Sequence[int]
    val: Sequence[int]
    missing: int
    middle: float
    thresholds: Sequence[Threshold]


def histograms(table: ScoreTable, settings: Mapping[str, Any]) -> list[Histogram]:
    """Return a histogram for each score of clips, and for the agreement of each view. settings: of the run, nested."""
    where, known = table.settings.where, setting_thresholds(settings)
    val = table.is_val()
    found = [
        _histogram(name, values, val, [*_of_settings(known, name), *_of_where(where, name)])
        for name, values in table.scores.items()
    ]
    of_question = val[table.questions["clip"]] if len(table.questions["clip"]) else np.zeros(0, bool)
    for view in VIEWS:
        name, values = f"agree_{view}", table.questions[f"agree_{view}"].astype(float)
        found.append(
            _histogram(name, values, of_question, [*_of_settings(known, "agreement"), *_of_where(where, name)])
        )
    return [each for each in found if each is not None]


def _histogram(
    name: str, values: NDArray[Any], val: NDArray[np.bool_], thresholds: Sequence[Threshold]
) -> Histogram | None:
    """Return the histogram; None where no value is known."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    shown = values[known]
    low, high = float(shown.min()), float(shown.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif high > 2 * (tail := float(np.quantile(shown, 0.99))) > 0:
        high = tail
    if high <= low:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, BARS + 1)
    clipped = np.clip(values, low, high)
    train, of_val = (np.histogram(clipped[known & part], edges)[0].tolist() for part in (~val, val))
    missing, middle = int((~known).sum()), float(np.median(shown))
    return Histogram(name, UNITS.get(name, ""), low, high, train, of_val, missing, middle, thresholds)


def _of_settings(known: Mapping[str, Sequence[tuple[float, str]]], name: str) -> list[Threshold]:
    return [Threshold(value, origin) for value, origin in known.get(name, ())]


def _of_where(where: str, name: str) -> list[Threshold]:
    """Return the numbers that `pack.where` compares a score with directly."""
    found = re.findall(COMPARISON.format(name=re.escape(name)), where)
    return [Threshold(float(value), f"pack.where: {name} {sign} {value}") for sign, value in found]


def languages(table: ScoreTable) -> list[tuple[str, int, int]]:
    """Return languages of transcripts with the number of clips in train and in val, the most frequent first."""
    counts: Counter[tuple[str, bool]] = Counter(
        (tongue, bool(val)) for tongue, val in zip(table.languages, table.is_val(), strict=True) if tongue
    )
    totals = Counter({name: counts[name, False] + counts[name, True] for name, _ in counts})
    shown = [name for name, _ in totals.most_common(LANGUAGES)]
    rows = [(name, counts[name, False], counts[name, True]) for name in shown]
    rest = [sum(count for (name, val), count in counts.items() if name not in shown and val == of) for of in (0, 1)]
    return [*rows, ("others", rest[0], rest[1])] if any(rest) else rows


def setting_thresholds(settings: Mapping[str, Any]) -> dict[str, list[tuple[float, str]]]:
    """Return thresholds of the steps by score: the value, and the setting that it is from. settings: of the run."""
    named = {
        "seconds": ("split.shortest", "split.longest"),
        "words": ("screen.least_words",),
        "complete": ("ask.least_complete",),
        "informative": ("ask.least_informative",),
        "agreement": ("pack.agreement",),
    }
    return {score: [(_setting(settings, key), key) for key in keys] for score, keys in named.items()}


def _setting(settings: Mapping[str, Any], key: str) -> float:
    section, name = key.split(".")
    return float(settings[section][name])
