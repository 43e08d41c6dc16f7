"""The state that all batches of one step on one part share."""

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
    """The state of one part in one step: its journal, its media, and room for copies of remote files.

    made: ids of the records made so far, by the input they come from. faults: number of failed batches so far. blamed:
    outcomes of records that lost the GPU twice since the last answer. These are journalled only after another record is
    answered: until then the GPU itself may be broken. expected: records of this slice and the next, see `Step.expect`.
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
        """Return the outcome of a record that killed its process twice. If it lost the GPU, the outcome is held back.

        Raises GpuBroken if too many records lost the GPU in a row.
        """
        if isinstance(fault, DeviceLost):
            self.blamed.append(outcome)
            if len(self.blamed) >= LOST:
                words = f"the GPU failed for {LOST} records in a row, for each of them twice"
                raise GpuBroken(f"{words} ({fault.reason})")
        return outcome

    def confirm(self) -> None:
        """Journal the outcomes that were held back: the GPU has answered since, so these records were at fault."""
        kept, self.blamed = self.blamed, []
        for outcome in kept:
            self.done(outcome)

    def check_current(self, part: int) -> None:
        """Raise Unavailable if another run reopened the part since its journal was opened."""
        if self.file.is_replaced(self.journal):
            raise Unavailable(f"part {part} was reopened by another run meanwhile: run again")

    def start(self, names: Sequence[str], in_order: bool) -> None:
        """Journal that these inputs are running. in_order: the step answers them one after the other."""
        self.journal.start(names, in_order)
        self.metrics.started(len(names))

    def done(self, outcome: Outcome) -> None:
        """Write an outcome to the journal; `failed` if a record id has occurred before in this part."""
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
    """Measures the seconds between answers."""

    def __init__(self) -> None:
        """Start."""
        self.began = self.last = time.monotonic()

    def lap(self) -> float:
        """Return the seconds since the last call, or since the start."""
        before, self.last = self.last, time.monotonic()
        return self.last - before
