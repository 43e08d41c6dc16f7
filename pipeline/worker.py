"""The one function that does the work: apply a step to a part, record by record, and commit it.

Read the part's rows of the step before -> for each batch: journal `start`, run it in the step's cell, journal `done` ->
write the part. A committed part passes straight through. This is the only place that catches what a step does wrong:

    the batch raised, died, or went over a limit   each of its records is run again, alone
    a record alone raised or went over a limit     `failed`, with that reason
    a record alone killed its cell twice           `failed: killed its worker twice`
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests import storage
from manifests.journal import Journal, journal_path
from manifests.ledger import DROPPED, FAILED, OK
from manifests.records import Drop, Outcome
from pipeline.cell import Cell, Here
from pipeline.errors import Died, StepFault
from pipeline.media.keep import MediaTar
from pipeline.plan import Planned
from pipeline.step import batches

TWICE = "killed its worker twice"
DEATHS = 2  # of whole workers, while one record was in flight
SCRATCH = "ola-scratch"


@dataclass
class Trip:
    """One part under way through one step: its journal, where it puts media, and room for copies of remote files."""

    journal: Journal
    media: MediaTar | None
    scratch: str


class StepWorker:
    """Applies one step to parts, with the step open in a cell of its own."""

    def __init__(self, planned: Planned, session: str, isolate: bool = True) -> None:
        """session: one life of the driver; isolate: False runs the step in this process, for a debugger."""
        self.planned, self.session, self.life = planned, session, uuid.uuid4().hex
        self.cell: Cell | Here = Cell(planned.step) if isolate else Here(planned.step)

    def __call__(self, part: int, scratch: str) -> None:
        """Commit one part of the step, unless that is done already. `scratch` is for copies of remote files."""
        manifest = self.planned.manifest
        if manifest.has(part):
            return
        inputs = {self.planned.name_of(value): value for value in self.planned.inputs(part)}
        with self._media(part) as media, self._journal(part) as journal:
            trip = Trip(journal, media, scratch)
            for batch in self._batches(inputs, journal):
                for outcome in self._attempt(batch, trip):
                    journal.done(outcome)
            if media is not None:
                media.close()
                storage.place(media.path, storage.join(manifest.root, media.uri))
            manifest.commit(part, list(inputs), list(journal.outcomes.values()))

    def close(self) -> None:
        """End the step's process."""
        self.cell.close()

    def _batches(self, inputs: Mapping[str, Any], journal: Journal) -> Iterator[Sequence[Any]]:
        """What is not done yet. Inputs that were in flight when a worker vanished run alone: nobody else is charged."""
        todo = {name: value for name, value in inputs.items() if name not in journal.outcomes}
        suspects = [[value] for name, value in todo.items() if journal.deaths(name)]
        rest = [value for name, value in todo.items() if not journal.deaths(name)]
        yield from suspects
        yield from batches(self.planned.step, self.planned.resources.batch, rest)

    def _attempt(self, batch: Sequence[Any], trip: Trip) -> Iterator[Outcome]:
        """Outcomes of a batch: at once if all goes well, else record by record."""
        names = [self.planned.name_of(value) for value in batch]
        started = time.monotonic()
        trip.journal.start(names)
        try:
            answers = self._run(batch, trip)
            seconds = (time.monotonic() - started) / len(batch)
            yield from (outcome_of(name, answer, seconds) for name, answer in zip(names, answers, strict=True))
        except StepFault as fault:
            if len(batch) == 1:
                yield self._last_chance(batch[0], fault, trip, started)
                return
            for value in batch:
                yield from self._attempt([value], trip)

    def _last_chance(self, value: Any, fault: StepFault, trip: Trip, started: float) -> Outcome:
        """A death may have been chance: the record gets one more process. Other faults are the record's own."""
        name = self.planned.name_of(value)
        if isinstance(fault, Died) and not trip.journal.deaths(name):
            try:
                (answer,) = self._run([value], trip)
                return outcome_of(name, answer, time.monotonic() - started)
            except StepFault as second:
                fault = second
        detail = "\n".join(filter(None, (fault.reason, fault.detail)))
        reason = TWICE if isinstance(fault, Died) else fault.reason
        return Outcome(name, FAILED, time.monotonic() - started, (), reason, detail)

    def _run(self, batch: Sequence[Any], trip: Trip) -> list[Any]:
        """The step's answers, one per input; an answer too few or too many is a fault of the step."""
        step, resources = self.planned.step, self.planned.resources
        if any(trip.journal.deaths(self.planned.name_of(value)) >= DEATHS for value in batch):
            raise Died("took its whole worker with it")
        seconds = sum(resources.seconds + step.allowance(value) for value in batch)
        answers = self.cell.run(batch, seconds, resources.memory_gb * 1e9, trip.media, trip.scratch)
        if len(answers) != len(batch):
            raise StepFault(f"step '{step.name}' gave {len(answers)} answers for {len(batch)} inputs")
        return list(answers)

    @contextmanager
    def _journal(self, part: int) -> Iterator[Journal]:
        """The part's journal; a step that keeps media begins its part anew, since the bytes went with the draft."""
        manifest = self.planned.manifest
        path = journal_path(manifest.root, manifest.path(part, "journal"))
        journal = Journal(path, manifest.record, self.session, self.life)
        if self.planned.step.keeps_media:
            journal.outcomes.clear()
        try:
            yield journal
        finally:
            journal.close(delete=manifest.has(part))

    @contextmanager
    def _media(self, part: int) -> Iterator[MediaTar | None]:
        if not self.planned.step.keeps_media:
            yield None
            return
        path = self.planned.manifest.path(part, "tar")
        tar = MediaTar(path, storage.draft_path(storage.join(self.planned.manifest.root, path)))
        try:
            yield tar
        finally:
            Path(tar.path).unlink(missing_ok=True)


def outcome_of(name: str, answer: Any, seconds: float) -> Outcome:
    """What a step's answer for one input means."""
    if isinstance(answer, Drop):
        return Outcome(name, DROPPED, seconds, (), answer.reason, answer.detail)
    if not answer:
        return Outcome(name, FAILED, seconds, (), "the step gave no answer")
    return Outcome(name, OK, seconds, tuple(answer))


class Lane:
    """Takes a part through neighbouring steps, one after the other, on one worker.

    Steps that ask for the same resources share a lane: that keeps the number of processes small, and a remote video
    is copied to this machine once for all of them.
    """

    def __init__(self, steps: Sequence[Planned], session: str, isolate: bool = True) -> None:
        """Steps open when their first part comes."""
        self.workers = [StepWorker(planned, session, isolate) for planned in steps]

    def __call__(self, part: int) -> None:
        """Commit one part of every step of the lane."""
        with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}-{os.getpid()}-") as scratch:
            for worker in self.workers:
                worker(part, scratch)

    def close(self) -> None:
        """End the steps' processes."""
        for worker in self.workers:
            worker.close()


def remove_scratch() -> None:
    """Delete the scratch folders of workers that were killed on this machine."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*-*"):
        with suppress(ValueError, OSError):
            if not psutil.pid_exists(int(path.name.split("-")[2])):
                shutil.rmtree(path)
