"""What a check finds: one line that says what is there, whether that is enough, and what to do where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """GOOD: enough. LOW: the run may go on. MISSING: the run would fail. UNNEEDED: this run does without it."""

    GOOD = "ok"
    LOW = "warning"
    MISSING = "MISSING"
    UNNEEDED = "not needed"


@dataclass(frozen=True)
class Finding:
    """One line of a report. advice: what to do where the state is LOW or MISSING."""

    name: str
    state: State
    found: str = ""
    advice: str = ""

    def __str__(self) -> str:
        """Return name, what was found and, unless that is good, the advice."""
        advice = f"; {self.advice}" if self.advice and self.state is not State.GOOD else ""
        return f"{self.name}: {self.found}{advice}"


def good(name: str, found: str) -> Finding:
    """Return the finding that nothing must be done."""
    return Finding(name, State.GOOD, found)


def low(name: str, found: str, advice: str) -> Finding:
    """Return the finding that a run may go on, worse than it could."""
    return Finding(name, State.LOW, found, advice)


def missing(name: str, found: str, advice: str) -> Finding:
    """Return the finding that a run would fail."""
    return Finding(name, State.MISSING, found, advice)


def unneeded(name: str) -> Finding:
    """Return the finding that this run does not use what the name says."""
    return Finding(name, State.UNNEEDED)
