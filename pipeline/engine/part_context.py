"""One part under way through one step: what all its batches share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from manifests.journal import Journal
from manifests.ledger import OK
from manifests.records import Outcome
from pipeline.engine.outcomes import failed_outcome, record_ids
from pipeline.engine.part_journals import JournalFile
from pipeline.errors import DeviceLost, GpuBroken, StepFault, Unavailable
from pipeline.media.media_store import MediaTar
from pipeline.monitoring.metrics import StepMetrics

LOST = 2  # records one after the other that lose the GPU twice each: then it is the GPU that is broken


@dataclass
class PartContext:
    """One part under way through one step: its journal, where it puts media, and room for copies of remote files.

    made: ids of the records made so far, with the input they were made of; faults: of its batches, so far. blamed:
    outcomes of records that lost the GPU twice, since another record was last answered: whether it was their fault, or
    the GPU's, is not known before one is. expected: records of this slice and the next, see `Step.expect`.
    """

    journal: Journal
    media: MediaTar | None
    scratch: str
    file: JournalFile
    metrics: StepMetrics
    made: dict[str, str] = field(default_factory=dict)
    faults: int = 0
    blamed: list[Outcome] = field(default_factory=list)
    expected: tuple[Any, ...] = ()

    def blame(self, outcome: Outcome, fault: StepFault) -> Outcome:
        """Return the outcome of a record that killed its process twice; where it lost the GPU, it is kept back.

        Raises GpuBroken if too many records lost the GPU, one after the other.
        """
        if isinstance(fault, DeviceLost):
            self.blamed.append(outcome)
            if len(self.blamed) >= LOST:
                words = f"the GPU failed for {LOST} records in a row, for each of them twice"
                raise GpuBroken(f"{words} ({fault.reason})")
        return outcome

    def confirm(self) -> None:
        """Journal what was kept back: the GPU has answered since, so it was these records' own fault."""
        kept, self.blamed = self.blamed, []
        for outcome in kept:
            self.done(outcome)

    def check_current(self, part: int) -> None:
        """Raise Unavailable if another run reopened the part since its journal was opened."""
        if self.file.is_replaced(self.journal):
            raise Unavailable(f"part {part} was reopened by another run meanwhile: run again")

    def start(self, names: Sequence[str], in_order: bool) -> None:
        """Journal that these inputs are in flight. in_order: the step answers for one after the other."""
        self.journal.start(names, in_order)
        self.metrics.started(len(names))

    def done(self, outcome: Outcome) -> None:
        """Journal an outcome; it fails if one of its records is there already, since one of the two would be lost."""
        if any(outcome is each for each in self.blamed):
            return
        if outcome.status == OK:
            self.confirm()
        twice = [name for name, times in Counter(record_ids(outcome)).items() if times > 1 or name in self.made]
        if twice:
            detail = f"{twice[0]}, made of {self.made.get(twice[0], outcome.input)}"
            outcome = failed_outcome(outcome.input, "made a record that is there already", detail, outcome.seconds)
        self.made.update(dict.fromkeys(record_ids(outcome), outcome.input))
        self.journal.done(outcome)
        self.metrics.done(outcome, self.media.size if self.media is not None else 0)


class Stopwatch:
    """Seconds between answers."""

    def __init__(self) -> None:
        """Begin now."""
        self.began = self.last = time.monotonic()

    def lap(self) -> float:
        """Return the seconds since the last call, or since the beginning."""
        before, self.last = self.last, time.monotonic()
        return self.last - before
