"""What an engine calls: a lane, and the plan that says how to make one and what it may use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass


class Lane(ABC):
    """The work on one number after the other: on parts, on shards."""

    @abstractmethod
    def __call__(self, number: int, /) -> None:
        """Do the work on a number. Raises SetAside if this number cannot go on and others can."""

    def expect(self, number: int | None, /) -> None:  # noqa: B027  most lanes have nothing to prepare
        """Take note of the number that most likely comes after that of the next call; None: it is not known."""

    def refresh(self) -> None:  # noqa: B027  lanes that list nothing have nothing to forget
        """Forget listings of the store: another worker died over the next number and may have left files."""

    def close(self) -> None:  # noqa: B027  most lanes hold nothing
        """End processes and close files."""


@dataclass(frozen=True)
class LanePlan:
    """How to make a lane, and what one of it may use. `make` and its result must be picklable for Ray.

    retries: how often a number is given to a new worker after the death of the one before; -1: without end, for a
    lane that counts deaths itself. seconds: for a number, as far as is known; 0: unknown. steps: names of its steps.
    """

    make: Callable[[], Lane]
    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0  # bytes
    retries: int = 3
    seconds: float = 0.0
    steps: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the lane for messages."""
        return ", ".join(self.steps) or "a lane"
