"""What a step is given for one batch, and the step in this very process, which takes the same calls as a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.engine.outcomes import run_batch
from pipeline.media.media_store import MediaTar
from pipeline.step import Step


@dataclass(frozen=True)
class BatchCall:
    """Which of a sandbox's steps does a batch, and what it is given for it: see the fields of `Step`."""

    number: int = 0
    media: MediaTar | None = None
    scratch: str = ""
    notes: str = ""

    def attach_to(self, step: Step[Any, Any]) -> None:
        """Give the step what it needs while `run` runs; its tar is a copy, see `answered`."""
        step.scratch, step.notes = self.scratch, self.notes
        if self.media is not None:
            step.media = replace(self.media)

    def size(self, step: Step[Any, Any]) -> int:
        """Return the bytes in the tar of a step after `attach_to`; 0 for a step without one."""
        return step.media.size if self.media is not None else 0

    def answered(self, size: int) -> None:
        """Keep what was put into the tar up to `size`: an answer refers to it."""
        if self.media is not None:
            self.media.size = size


class InProcess:
    """The step in this very process, for a debugger: same calls as `Sandbox`, no limits, no second life."""

    def __init__(self, *steps: Step[Any, Any]) -> None:
        """Each step is opened at its first batch."""
        self.steps: list[Step[Any, Any]] = list(steps)
        self.opened: set[int] = set()

    def run(
        self,
        batch: Sequence[Any],
        seconds: float,
        memory: float,
        call: BatchCall,
        answered: Callable[[Any], None] | None = None,
    ) -> list[Any]:
        """Return the step's answers, as `Sandbox.run` returns them; errors of the step pass through."""
        step = self.steps[call.number]
        if call.number not in self.opened:
            step.open()
            self.opened.add(call.number)
        call.attach_to(step)

        def take(answer: Any) -> None:
            call.answered(call.size(step))
            (answered or early.append)(answer)

        early: list[Any] = []
        rest = run_batch(step, batch, take)
        call.answered(call.size(step))
        return [*early, *rest]

    def close(self) -> None:
        """Do nothing: no process is open."""
