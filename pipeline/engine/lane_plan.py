"""What an engine calls: a lane, and the plan that says how to make one and what it may use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass


class Lane(ABC):
    """A worker of the engine: it processes numbers (of parts, of shards) one after the other."""

    @abstractmethod
    def __call__(self, number: int, /) -> None:
        """Process one number. Raises SetAside if only this number cannot go on."""

    def expect(self, number: int | None, /) -> None:  # noqa: B027  most lanes have nothing to prepare
        """Take note of the number that most likely comes after that of the next call; None: it is not known."""

    def refresh(self) -> None:  # noqa: B027  lanes that list nothing have nothing to forget
        """Drop cached listings of the store: a worker that died may have left files of the next number."""

    def close(self) -> None:  # noqa: B027  most lanes hold nothing
        """End processes and close files."""


@dataclass(frozen=True)
class LanePlan:
    """How a lane is made, and the resources of one actor. Ray pickles `make` and its result.

    retries: how often a number is given to a new actor after the death of the previous one; -1: without a limit, for a
    lane that counts deaths itself. seconds: expected seconds per number; 0: unknown. steps: names of its steps.
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
