"""One part under way through one step: what all its batches share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from manifests.journal import Journal
from manifests.records import Outcome
from pipeline.errors import Unavailable
from pipeline.journals import JournalFile
from pipeline.media.keep import MediaTar
from pipeline.metrics import StepMetrics
from pipeline.outcomes import failed, ids_of


@dataclass
class Trip:
    """One part under way through one step: its journal, where it puts media, and room for copies of remote files.

    made: ids of the records made so far, with the input they were made of; faults: of its batches, so far.
    """

    journal: Journal
    media: MediaTar | None
    scratch: str
    file: JournalFile
    metrics: StepMetrics
    made: dict[str, str] = field(default_factory=dict)
    faults: int = 0

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
        twice = [name for name, times in Counter(ids_of(outcome)).items() if times > 1 or name in self.made]
        if twice:
            detail = f"{twice[0]}, made of {self.made.get(twice[0], outcome.input)}"
            outcome = failed(outcome.input, "made a record that is there already", detail, outcome.seconds)
        self.made.update(dict.fromkeys(ids_of(outcome), outcome.input))
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
