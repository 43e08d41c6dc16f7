"""Time two implementations of the same work side by side, and compare the ratio with its target.

    figure = Figure("shards", "write", "webdataset", "MB/s", ours, theirs, "speed", Target("≥", 2.0))

In: raw values of equally many interleaved rounds. Out: the median of the pairwise ratios with its range, a row of the
table, and a JSON object. A machine that is busy slows both sides of a round, so a ratio says more than seconds do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """What a figure should be; missing it fails nothing."""

    sign: Literal["≤", "<", "≥"]
    bound: float
    unit: str = "x"

    def met(self, value: float) -> bool:
        """Whether `value` is within the bound."""
        compare = {"≤": value <= self.bound, "<": value < self.bound, "≥": value >= self.bound}
        return compare[self.sign]

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}{'' if self.unit == 'x' else ' '}{self.unit}"


@dataclass(frozen=True)
class Figure:
    """Raw values of each round on both sides; `theirs` is empty where only an absolute value is asked for.

    ratio: `time` is ours / theirs (less is better), `speed` the other way round (more is better).
    """

    bench: str
    what: str
    against: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    ratio: Literal["time", "speed"] = "time"
    target: Target | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """One for each round."""
        upside_down = (self.ratio == "speed") == (self.unit == "s")
        pairs = [(b, a) if upside_down else (a, b) for a, b in zip(self.ours, self.theirs, strict=bool(self.theirs))]
        return [above / below for above, below in pairs]

    @property
    def value(self) -> float:
        """What is held against the target: the median ratio, or without another side our median."""
        return statistics.median(self.ratios or self.ours)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.target.met(self.value)

    def row(self) -> list[str]:
        """The cells of the table's row."""
        range_ = self.ratios or self.ours
        kind = self.ratio if self.theirs else self.unit
        verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[self.met]
        return [
            self.bench,
            self.what + (f"\n[dim]{self.note}[/]" if self.note else ""),
            self.against,
            str(len(self.ours)),
            f"{statistics.median(self.ours):.4g} {self.unit}",
            f"{statistics.median(self.theirs):.4g} {self.unit}" if self.theirs else "",
            f"{kind} {self.value:.2f}\n[dim]{min(range_):.2f}..{max(range_):.2f}[/]",
            "information" if self.target is None else str(self.target),
            verdict,
        ]

    def facts(self) -> dict[str, Any]:
        """The same for JSON, with every raw value."""
        return {
            "bench": self.bench,
            "what": self.what,
            "against": self.against,
            "note": self.note,
            "unit": self.unit,
            "ours": list(self.ours),
            "theirs": list(self.theirs),
            "ratio": self.ratio if self.theirs else None,
            "ratios": self.ratios,
            "value": self.value,
            "target": None if self.target is None else str(self.target),
            "met": self.met,
        }


def timed(call: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def interleaved(
    rounds: int,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    before: Callable[[], object] = lambda: None,
) -> tuple[list[float], list[float]]:
    """Seconds of both sides, turn and turn about; `before` each turn something that is not measured."""
    pairs = []
    for _ in range(rounds):
        before()
        mine = timed(ours)
        before()
        pairs.append((mine, timed(theirs)))
    return [one for one, _ in pairs], [other for _, other in pairs]
