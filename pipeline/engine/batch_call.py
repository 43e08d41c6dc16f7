"""The context of one batch of a step, and an executor that runs steps in this process like `Sandbox`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.engine.outcomes import run_batch
from pipeline.media.media_store import MediaTar
from pipeline.step import Step


@dataclass(frozen=True)
class BatchCall:
    """The number of the step that runs a batch, and the step's files for the batch: see the fields of `Step`.

    expected: records that come next, see `Step.expect`.
    """

    number: int = 0
    media: MediaTar | None = None
    scratch: str = ""
    notes: str = ""
    expected: tuple[Any, ...] = ()

    def attach_to(self, step: Step[Any, Any]) -> None:
        """Set the step's `scratch`, `notes` and `media`, a copy of the tar; `answered` updates the original."""
        step.scratch, step.notes = self.scratch, self.notes
        if self.media is not None:
            step.media = replace(self.media)
        if self.expected:
            step.expect(self.expected)

    def size(self, step: Step[Any, Any]) -> int:
        """Return the bytes in the tar of a step after `attach_to`; 0 for a step without one."""
        return step.media.size if self.media is not None else 0

    def answered(self, size: int) -> None:
        """Set the size of the tar to `size`, so that the media of an answer are kept."""
        if self.media is not None:
            self.media.size = size


class InProcess:
    """Runs steps in this process, for a debugger: the interface of `Sandbox`, without limits and without restarts."""

    def __init__(self, *steps: Step[Any, Any]) -> None:
        """Store the steps; each one is opened before its first batch."""
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
        """Return the step's answers as `Sandbox.run` does. Errors of the step are raised unchanged."""
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
