"""Apply a step to a part, record by record, and commit it.

Read the part's rows of the step before -> for each batch: journal `start`, run it in the step's sandbox, journal `done`
-> write the part. A committed part is skipped. This module alone handles the faults of steps:

    the batch raised, died, or went over a limit   each record without a handed-over answer is run again alone; with
                                                   `hands_over`, first one record, then batches that double in size
    a record alone raised or went over a limit     `failed`, with that reason
    a record alone killed its sandbox, or lost     `failed: killed its worker twice`; if two records in a row lose the
        the GPU, twice                             GPU, the GPU is at fault: the part is set aside, without a row
    the machine killed its sandbox three times     the part is set aside, without a row
    the fault may pass (`Unavailable`)             the part is set aside, without a row
    any other error of the part                    the part is set aside
    three workers died with no record running      the part is set aside

A part that is set aside stays open; its journal is kept, and other parts go on.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import object_store, storage
from manifests.blocks import BLOCK, PartFiles
from manifests.journal import Journal
from manifests.ledger import check_law
from manifests.records import Outcome
from pipeline.engine import nodes
from pipeline.engine.batch_call import BatchCall, InProcess
from pipeline.engine.outcomes import failed_outcome, outcome_of, record_ids
from pipeline.engine.part_context import PartContext, Stopwatch
from pipeline.engine.part_journals import JournalFile, draft_base, part_journal
from pipeline.engine.sandbox import Sandbox
from pipeline.engine.slices import Rows, expected_by
from pipeline.errors import OpenFailed, ProcessDied, ProcessKilled, SetAside, StepFault, Unavailable
from pipeline.media.media_draft import follow_placed_tars, part_draft
from pipeline.media.media_store import MediaTar, media_of, relocate_media
from pipeline.monitoring.metrics import StepMetrics
from pipeline.plan import PlannedStep
from pipeline.sources.scratch import forget_copy
from pipeline.step import batches

TWICE = "killed its worker twice"
DEATHS = 2  # of whole workers, while one record was in flight
KILLS = 3  # by the machine, of a record's process, before its part is set aside
IDLE_DEATHS = 3  # of workers that had no record in flight, before their part is set aside
FRESH = 60.0  # seconds that a worker goes by one listing of its step: a request, against one for each part
PAUSE = 2.0  # seconds before the first new try after the machine killed a process; doubled each time


class StepWorker:
    """Applies one step to parts, with the step open in a sandbox of its own."""

    def __init__(self, planned: PlannedStep, session: str, sandbox: Sandbox | InProcess, number: int = 0) -> None:
        """session: id of this run of the driver; number: index of the step within its sandbox."""
        self.planned, self.session, self.life = planned, session, uuid.uuid4().hex
        self.sandbox, self.number = sandbox, number
        self.metrics = StepMetrics(planned.manifest.root, planned.step.name)
        self.seen = PartFiles({}, {})  # of the step's folder, as they were `listed`
        self.listed = -math.inf  # seconds of the monotonic clock
        self.is_last_reader = False  # whether no later step of the lane reads original files

    def __call__(self, part: int, scratch: str, rows_read: Rows | None = None) -> None:
        """Commit one part of the step, unless the part is committed.

        scratch: folder for copies of remote files. rows_read: rows of the part by manifest, shared by the steps of the
        lane.
        """
        if self.has(part):
            return
        with self.opened(part, scratch) as context:
            self.finish(part, context, {} if rows_read is None else rows_read)

    @contextmanager
    def opened(self, part: int, scratch: str) -> Iterator[PartContext]:
        """Open the journal of a part. Raises SetAside if workers repeatedly died on it with no record running."""
        with self._journal(part) as (file, journal):
            if journal.idle_deaths() >= IDLE_DEATHS:
                reason = f"{IDLE_DEATHS} workers died on it with no record in flight"
                raise SetAside(part, self.planned.step.name, reason)
            yield PartContext(journal, None, scratch, file, self.metrics)

    def take(self, part: int, context: PartContext, rows: Rows, following: Rows) -> None:
        """Run the inputs that `rows` of the part make, and add the rows that they give; nothing is committed.

        following: rows of the next slice. Between two calls other steps are at work: who dies then has died of none of
        these inputs.
        """
        journal, inputs = context.journal, self._inputs(part, rows)
        context.expected = expected_by(self.planned.step, rows, following)
        journal.start([])
        self._run_rest(inputs, context)
        done = [name for name in inputs if name in journal.outcomes]
        rows[self.planned.manifest] = self.planned.manifest.rows(done, [journal.outcomes[name] for name in done])
        journal.leave()

    def finish(self, part: int, context: PartContext, rows_read: Rows) -> None:
        """Run the inputs that are not in the journal, and commit the part."""
        context.journal.start([])
        inputs = self._inputs(part, rows_read)
        with self._media(part, list(inputs), context.journal) as context.media:
            self.metrics.opened(context.media.size if context.media is not None else 0)
            self._run_rest(inputs, context)
            context.confirm()
            outcomes = [context.journal.outcomes[name] for name in inputs if name in context.journal.outcomes]
            if self._commit(part, list(inputs), outcomes, context, rows_read):
                self.metrics.committed()
        context.journal.committed = True

    def _inputs(self, part: int, rows_read: Rows) -> dict[str, Any]:
        return {self.planned.input_id(value): value for value in self.planned.inputs(part, rows_read)}

    def _run_rest(self, inputs: Mapping[str, Any], context: PartContext) -> None:
        journal = context.journal
        for name in inputs.keys() & journal.outcomes.keys():  # others may be of inputs before a redone step
            context.made.update(dict.fromkeys(record_ids(journal.outcomes[name]), name))
        for batch in self._release_copies(list(self._batches(inputs, journal)), context.scratch):
            for outcome in self._run_batch(batch, context):
                context.done(outcome)

    def has(self, part: int) -> bool:
        """Return whether the part is committed. In an object store: by a listing that is at most FRESH seconds old.

        A worker that misses a recent commit repeats the part, and its rows are refused.
        """
        if not object_store.holds(self.planned.manifest.root):
            return self.planned.manifest.has(part)
        if time.monotonic() - self.listed > FRESH:
            self.listed, self.seen = time.monotonic(), self.planned.manifest.listed()
        return part in self.seen.committed()

    def forget_listing(self) -> None:
        """List the step's folder again before the next part."""
        self.listed = -math.inf

    def _may_be_compacted(self, part: int) -> bool:
        """Return whether the part may be in a block file; False if a recent listing shows none.

        If a block file is written meanwhile, this worker's rows are a file that no reader opens.
        """
        return time.monotonic() - self.listed > FRESH or part // BLOCK in self.seen.blocks

    def close(self) -> None:
        """End the step's process."""
        self.sandbox.close()

    def _commit(
        self, part: int, inputs: Sequence[str], outcomes: Sequence[Outcome], context: PartContext, rows_read: Rows
    ) -> bool:
        """Place the part's tar, then commit its rows. Return False if another worker committed the part first.

        Raises Unavailable if the part was reopened meanwhile: these rows belong to its earlier state.
        """
        manifest, media = self.planned.manifest, context.media
        if media is None or not media.size:
            context.check_current(part)
            return self._commit_rows(part, manifest.rows(inputs, outcomes), rows_read)
        check_law(manifest.name, inputs, outcomes)
        tar = media.place(manifest.root, partial(context.journal.record_place, media.uri))
        context.check_current(part)
        rows = manifest.rows(inputs, [relocate_media(outcome, media.uri, tar) for outcome in outcomes])
        is_ours = self._commit_rows(part, rows, rows_read)
        if not is_ours:
            uris = {each.uri for outcome in manifest.outcomes(part) for each in media_of(outcome)}
            if tar not in uris:
                storage.remove(storage.join(manifest.root, tar))
        return is_ours

    def _commit_rows(self, part: int, rows: pa.Table, rows_read: Rows) -> bool:
        is_ours = self.planned.manifest.commit_rows(part, rows, self._may_be_compacted(part))
        if is_ours:
            rows_read[self.planned.manifest] = rows
        return is_ours

    def _release_copies(self, batches: Sequence[Sequence[Any]], scratch: str) -> Iterator[Sequence[Any]]:
        """Yield the batches; after each batch, delete the copies of remote files that this lane no longer needs."""
        original_uri = self.planned.step.original_uri
        uses = Counter(original_uri(value) for batch in batches for value in batch)
        for batch in batches:
            yield batch
            for uri in map(original_uri, batch):
                uses[uri] -= 1
                if uri and self.is_last_reader and not uses[uri]:
                    forget_copy(Path(storage.copy_path(uri, scratch)))

    def _batches(self, inputs: Mapping[str, Any], journal: Journal) -> Iterator[Sequence[Any]]:
        """Yield the inputs without an outcome, in order. Inputs that were running when a worker died run alone."""
        todo = [name for name in inputs if name not in journal.outcomes]
        for suspect, names in groupby(todo, key=lambda name: journal.deaths(name) > 0):
            values = [inputs[name] for name in names]
            alone = [[value] for value in values]
            yield from alone if suspect else batches(self.planned.step, self.planned.resources.batch, values)

    def _run_batch(self, batch: Sequence[Any], context: PartContext) -> Iterator[Outcome]:
        """Yield the outcomes of a batch; answers that the step hands over are journalled at once instead."""
        left = deque(self.planned.input_id(value) for value in batch)
        watch = Stopwatch()
        context.start(list(left), in_order=self.planned.step.hands_over)

        def answered(answer: Any) -> None:
            context.done(outcome_of(left.popleft(), answer, watch.lap()))

        try:
            answers = self._run(batch, context, answered)
            seconds = watch.lap() / max(1, len(answers))
            yield from (outcome_of(name, answer, seconds) for name, answer in zip(left, answers, strict=True))
        except StepFault as fault:
            context.faults += 1
            if len(batch) == 1 and left:
                yield self._run_again_alone(batch[0], fault, context, watch.began)
            else:
                yield from self._run_separately(batch[len(batch) - len(left) :], context)

    def _run_separately(self, batch: Sequence[Any], context: PartContext) -> Iterator[Outcome]:
        """Yield outcomes after a fault: one record alone; with `hands_over`, the number doubles each time."""
        size = 1
        while batch:
            faults = context.faults
            yield from self._run_batch(batch[:size], context)
            batch = batch[size:]
            size = 2 * size if self.planned.step.hands_over and context.faults == faults else 1

    def _run_again_alone(self, value: Any, fault: StepFault, context: PartContext, started: float) -> Outcome:
        """Run a record alone after its first fault, and return its outcome: the first death may have had another cause.

        After a SIGKILL from outside, the record gets KILLS processes in all. Other faults are the record's own. Raises
        Unavailable or OpenFailed after the last SIGKILL, and Unavailable if the GPU is at fault.
        """
        name = self.planned.input_id(value)
        deaths, kills = context.journal.deaths(name), 0
        while isinstance(fault, ProcessDied | ProcessKilled):
            if isinstance(fault, ProcessKilled):
                kills += 1
                self._check_kills(name, fault, kills)
                time.sleep(PAUSE * 2 ** (kills - 1))
            elif (deaths := deaths + 1) >= DEATHS:
                detail = "\n".join(filter(None, (fault.reason, fault.detail)))
                return context.blame(failed_outcome(name, TWICE, detail, time.monotonic() - started), fault)
            try:
                (answer,) = self._run([value], context)
                return outcome_of(name, answer, time.monotonic() - started)
            except StepFault as another:
                fault = another
        return failed_outcome(name, fault.reason, fault.detail, time.monotonic() - started)

    def _check_kills(self, name: str, fault: ProcessKilled, kills: int) -> None:
        """Raise Unavailable after KILLS kills; OpenFailed if the step was opening: other parts would fail."""
        limit = f"below its limit of {self.planned.resources.memory_gb:.1f} GB"
        if kills < KILLS:
            return
        if fault.opening:
            raise OpenFailed(f"step '{self.planned.step.name}' was {fault.reason} while opening, {kills} times")
        raise Unavailable(f"{name} was {fault.reason}, {limit}: the machine is out of memory, or somebody kills it")

    def _run(
        self, batch: Sequence[Any], context: PartContext, answered: Callable[[Any], None] | None = None
    ) -> list[Any]:
        """Return the step's answers, except those that `answered` received. Raises StepFault or Unavailable."""
        step, resources = self.planned.step, self.planned.resources
        if any(context.journal.deaths(self.planned.input_id(value)) >= DEATHS for value in batch):
            raise ProcessDied("took its whole worker with it")
        allowances = [step.allowance(value) for value in batch]
        seconds = resources.seconds + (max(allowances) if step.hands_over else sum(allowances))
        expected = context.expected if answered else ()  # the last chance of a record is its own
        call = BatchCall(self.number, context.media, context.scratch, context.journal.notes, expected)
        return self.sandbox.run(batch, seconds, resources.memory_gb * 1e9, call, answered)

    @contextmanager
    def _journal(self, part: int) -> Iterator[tuple[JournalFile, Journal]]:
        manifest = self.planned.manifest
        with part_journal(manifest, part, self.session, part in self.seen.journals) as file:
            journal = Journal(file.path, manifest.record, self.session, self.life, nodes.current_node(), nodes.is_lost)
            try:
                yield file, journal
            finally:
                journal.close(delete=journal.committed)
                self.metrics.ended()

    @contextmanager
    def _media(self, part: int, inputs: Sequence[str], journal: Journal) -> Iterator[MediaTar | None]:
        """Open the part's tar if the step stores media; outcomes whose media are lost are removed from the journal."""
        if not self.planned.step.keeps_media:
            yield None
            return
        manifest = self.planned.manifest
        uri, base = manifest.path(part, "tar"), draft_base(manifest, part)
        follow_placed_tars(manifest.root, journal.places, journal.outcomes)
        with part_draft(uri, base, inputs, journal.outcomes) as tar:
            yield tar
