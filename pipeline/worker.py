"""The one function that does the work: apply a step to a part, record by record, and commit it.

Read the part's rows of the step before -> for each batch: journal `start`, run it in the step's cell, journal `done` ->
write the part. A committed part passes straight through. This is the only place that catches what a step does wrong:

    the batch raised, died, or went over a limit   each of its records is run again, alone
    a record alone raised or went over a limit     `failed`, with that reason
    a record alone killed its cell twice           `failed: killed its worker twice`

What no record is to blame for becomes no row: see `pipeline.blame`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from manifests import storage
from manifests.journal import Journal, journal_path
from manifests.records import Outcome
from pipeline.answers import failed, ids_of, outcome_of
from pipeline.blame import check_lives, patiently, setting_aside
from pipeline.cell import Cell, Errand, Here
from pipeline.damage import read_inputs
from pipeline.errors import Died, StepFault, Unavailable
from pipeline.media.keep import MediaTar
from pipeline.plan import Planned
from pipeline.step import batches

TWICE = "killed its worker twice"
DEATHS = 2  # of whole workers, while one record was in flight
SCRATCH = "ola-scratch"
STALE = 60.0  # seconds: a scratch folder this old that nobody holds belonged to a worker that was killed


@dataclass
class Trip:
    """One part under way through one step: its journal, where it puts media, and room for copies of remote files.

    made: ids of the records made so far, with the input they were made of.
    """

    journal: Journal
    media: MediaTar | None
    scratch: str
    made: dict[str, str] = field(default_factory=dict)

    def done(self, outcome: Outcome) -> None:
        """Journal an outcome; it fails if one of its records is there already, since one of the two would be lost."""
        twice = [name for name, times in Counter(ids_of(outcome)).items() if times > 1 or name in self.made]
        if twice:
            detail = f"{twice[0]}, made of {self.made.get(twice[0], outcome.input)}"
            outcome = failed(outcome.input, "made a record that is there already", detail, outcome.seconds)
        self.made.update(dict.fromkeys(ids_of(outcome), outcome.input))
        self.journal.done(outcome)


class StepWorker:
    """Applies one step to parts, with the step open in a cell of its own."""

    def __init__(self, planned: Planned, session: str, cell: Cell | Here, number: int = 0) -> None:
        """session: one life of the driver; number: of the step within its cell."""
        self.planned, self.session, self.life = planned, session, uuid.uuid4().hex
        self.cell, self.number = cell, number
        self.node = ""
        self.lost: Callable[[str], bool] = stays

    def __call__(self, part: int, scratch: str) -> None:
        """Commit one part of the step, unless that is done already. `scratch` is for copies of remote files."""
        manifest = self.planned.manifest
        if manifest.has(part):
            return
        with self._media(part, scratch) as media, self._journal(part) as journal:
            journal.forgive(self.lost)
            check_lives(part, self.planned.step.name, journal)
            journal.begin(self.node)
            inputs = {self.planned.name_of(value): value for value in read_inputs(self.planned, part)}
            trip = Trip(journal, media, scratch)
            # an earlier run may have journalled an input that a redone step before this one does not give any more
            for outcome in [outcome for name, outcome in journal.outcomes.items() if name in inputs]:
                trip.made.update(dict.fromkeys(ids_of(outcome), outcome.input))
            for batch in self._batches(inputs, journal):
                for outcome in self._attempt(batch, trip):
                    trip.done(outcome)
            if media is not None:
                media.close()
                storage.place(media.path, storage.join(manifest.root, media.uri))
            manifest.commit(part, list(inputs), [journal.outcomes[name] for name in inputs if name in journal.outcomes])

    def close(self) -> None:
        """End the step's process."""
        self.cell.close()

    def _batches(self, inputs: Mapping[str, Any], journal: Journal) -> Iterator[Sequence[Any]]:
        """What is not done yet, in order. Inputs that were in flight when a worker vanished run alone."""
        todo = [name for name in inputs if name not in journal.outcomes]
        for suspect, names in groupby(todo, key=lambda name: journal.deaths(name) > 0):
            values = [inputs[name] for name in names]
            alone = [[value] for value in values]
            yield from alone if suspect else batches(self.planned.step, self.planned.resources.batch, values)

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
        except Unavailable:
            if len(batch) == 1:
                raise
        else:
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
        if isinstance(fault, Died):
            detail = "\n".join(filter(None, (fault.reason, fault.detail)))
            return failed(name, TWICE, detail, time.monotonic() - started)
        return failed(name, fault.reason, fault.detail, time.monotonic() - started)

    def _run(self, batch: Sequence[Any], trip: Trip) -> list[Any]:
        """The step's answers, one per input. Raises StepFault, or Unavailable."""
        step, resources = self.planned.step, self.planned.resources
        if any(trip.journal.deaths(self.planned.name_of(value)) >= DEATHS for value in batch):
            raise Died("took its whole worker with it")
        allowances = [step.allowance(value) for value in batch]
        seconds = resources.seconds + (max(allowances) if step.signs else sum(allowances))
        errand = Errand(self.number, trip.media, trip.scratch, trip.journal.notes)
        call = partial(self.cell.run, batch, seconds, resources.memory_gb * 1e9, errand)
        return list(patiently(call) if len(batch) == 1 else call())

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
    def _media(self, part: int, scratch: str) -> Iterator[MediaTar | None]:
        if not self.planned.step.keeps_media:
            yield None
            return
        manifest = self.planned.manifest
        # scratch is swept when its worker was killed; a draft beside its part is when a run starts
        local = storage.is_local(manifest.root)
        path = storage.draft_path(manifest.uri(part, "tar")) if local else str(Path(scratch, uuid.uuid4().hex))
        tar = MediaTar(manifest.path(part, "tar"), path)
        try:
            yield tar
        finally:
            Path(tar.path).unlink(missing_ok=True)


class Lane:
    """Takes a part through neighbouring steps, one after the other, on one worker.

    Steps that ask for the same resources share a lane: that keeps the number of processes small, and a remote video
    is copied to this machine once for all of them.
    """

    def __init__(self, steps: Sequence[Planned], session: str, isolate: bool = True) -> None:
        """Steps open when their first part comes."""
        remove_scratch()
        self.isolate = isolate
        self.workers = [worker for group in sharing(steps) for worker in _workers(group, session, isolate)]

    def place(self, node: str, lost: Callable[[str], bool]) -> None:
        """Say on which node this lane is, and how to find out whether a node is lost."""
        for worker in self.workers:
            worker.node, worker.lost = node, lost

    def __call__(self, part: int) -> None:
        """Commit one part of every step of the lane. Raises SetAside if the part cannot go on, and others may."""
        with scratch_folder() as scratch:
            for worker in self.workers:
                with setting_aside(part, worker.planned.step.name, debugging=not self.isolate):
                    worker(part, scratch)

    def close(self) -> None:
        """End the steps' processes."""
        for worker in self.workers:
            worker.close()


def stays(node: str) -> bool:
    """No node is lost where there is only this machine."""
    return False


def sharing(steps: Sequence[Planned]) -> list[list[Planned]]:
    """The steps by process: neighbours that share something in one, every other in one of its own."""
    groups: list[list[Planned]] = []
    for planned in steps:
        if groups and planned.step.shares and planned.step.shares == groups[-1][-1].step.shares:
            groups[-1].append(planned)
        else:
            groups.append([planned])
    return groups


def memory_of(steps: Sequence[Planned]) -> float:
    """Bytes that one worker of a lane reserves: the largest limit among its steps, which work one after the other.

    Their processes live on between parts, but hold little then; where weights are held, `shares` has one process.
    """
    return max(planned.resources.memory_gb for planned in steps) * 1e9


def _workers(group: Sequence[Planned], session: str, isolate: bool) -> list[StepWorker]:
    cell = (Cell if isolate else Here)(*(planned.step for planned in group))
    return [StepWorker(planned, session, cell, number) for number, planned in enumerate(group)]


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder that is this process's own until the block, or the process, ends."""
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}-") as folder:
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(held)


def remove_scratch() -> None:
    """Delete the scratch folders of workers that were killed on this machine."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*"):
        with suppress(OSError):  # somebody holds it, or was faster
            held = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(held).st_mtime > STALE:
                    shutil.rmtree(path)
            finally:
                os.close(held)
