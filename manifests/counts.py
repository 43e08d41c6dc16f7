"""Counts of a step's outcomes. The footer of a part's file holds those of the part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from manifests.records import Outcome

OK, DROPPED, FAILED = "ok", "dropped", "failed"


@dataclass(slots=True)
class Counts:
    """Counts of a step's outcomes: inputs = ok + dropped + failed. outputs: records made from the `ok` inputs."""

    inputs: int = 0
    ok: int = 0
    dropped: int = 0
    failed: int = 0
    outputs: int = 0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_outcomes(cls, outcomes: Iterable[Outcome]) -> Counts:
        """Count the outcomes of one part."""
        counts = cls()
        for outcome in outcomes:
            counts.inputs += 1
            setattr(counts, outcome.status, getattr(counts, outcome.status) + 1)
            counts.outputs += len(outcome.records)
            counts.seconds += outcome.seconds
            if outcome.reason is not None:
                counts.reasons[outcome.reason] = counts.reasons.get(outcome.reason, 0) + 1
        return counts

    @classmethod
    def sum(cls, parts: Iterable[Counts]) -> Counts:
        """Return the sum of the counts of several parts."""
        total = cls()
        for counts in parts:
            total.add(counts)
        return total

    def add(self, other: Counts) -> None:
        """Add the counts of another part."""
        for name in ("inputs", "ok", "dropped", "failed", "outputs", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
