"""Findings of checks: what was found, whether it is enough, and what to do if not."""

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
    """One line of a report. advice: what to do if the state is LOW or MISSING."""

    name: str
    state: State
    found: str = ""
    advice: str = ""

    def __str__(self) -> str:
        """Return the name, what was found, and the advice."""
        advice = f"; {self.advice}" if self.advice and self.state is not State.GOOD else ""
        return f"{self.name}: {self.found}{advice}"


def good(name: str, found: str) -> Finding:
    """Return a finding that a requirement is met."""
    return Finding(name, State.GOOD, found)


def low(name: str, found: str, advice: str) -> Finding:
    """Return a finding that a run is possible, but slower or riskier."""
    return Finding(name, State.LOW, found, advice)


def missing(name: str, found: str, advice: str) -> Finding:
    """Return a finding that a run would fail."""
    return Finding(name, State.MISSING, found, advice)


def unneeded(name: str) -> Finding:
    """Return a finding that this run does not need the named thing."""
    return Finding(name, State.UNNEEDED)
