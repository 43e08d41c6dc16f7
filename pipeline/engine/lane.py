"""A lane: neighbouring steps that process a part one after the other in one worker.

A fault of one part sets this part aside, see `pipeline.engine.worker`; a full disk ends the run.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, groupby, pairwise

from manifests.full_disk import is_full
from manifests.ledger import Damaged
from manifests.retries import StoreUnreachable
from pipeline.engine.batch_call import InProcess
from pipeline.engine.lane_plan import Lane
from pipeline.engine.outcomes import error_line
from pipeline.engine.part_context import PartContext
from pipeline.engine.part_journals import remove_stale_journals
from pipeline.engine.sandbox import Sandbox
from pipeline.engine.slices import Rows, slices_of
from pipeline.engine.worker import StepWorker
from pipeline.errors import ConfigError, GpuBroken, RunError, SetAside, Unavailable
from pipeline.plan import PlannedStep
from pipeline.sources.scratch import remove_scratch, scratch_folder
from pipeline.step import Step


class StepLane(Lane):
    """Processes parts by neighbouring steps in one worker.

    Steps with the same resources share a lane. This keeps the number of processes small, and a remote video is copied
    to this machine once for all steps of the lane.
    """

    def __init__(self, steps: Sequence[PlannedStep], session: str, isolate: bool = True) -> None:
        """Store the steps; each opens with its first part. isolate: False raises errors unchanged, for a debugger."""
        remove_scratch()
        remove_stale_journals()
        self.isolate = isolate
        self.workers = [worker for group in group_by_process(steps) for worker in _workers(group, session, isolate)]
        self.following: int | None = None  # the part that comes after this one, as far as is known
        self.ahead: dict[int, Rows] = {}  # its rows
        readers = [worker for worker in self.workers if type(worker.planned.step).original_uri is not Step.original_uri]
        for worker in readers[-1:]:
            worker.is_last_reader = True

    def __call__(self, part: int) -> None:
        """Commit one part in every step of the lane. Raises SetAside, or RunError if no part can go on."""
        rows = self.ahead.pop(part, Rows())
        with scratch_folder() as scratch:
            for is_sliced, group in groupby(self.workers, key=lambda worker: worker.planned.step.clips_at_once > 0):
                if is_sliced:
                    self._in_slices(list(group), part, scratch, rows)
                    continue
                for worker in group:
                    with self._set_aside(part, worker):
                        worker(part, scratch, rows)

    def _in_slices(self, workers: Sequence[StepWorker], part: int, scratch: str, rows_read: Rows) -> None:
        """Process a part in slices of clips by steps that share a model, whose cache then holds the slice's media.

        The rows of all steps are committed at the end, one step after the other.
        """
        contexts: dict[StepWorker, PartContext] = {}
        with ExitStack() as stack:
            for worker in workers:
                with self._set_aside(part, worker):
                    if not worker.has(part):
                        contexts[worker] = stack.enter_context(worker.opened(part, scratch))
            slices = self._slices([*contexts], part, rows_read)
            for rows, following in pairwise(chain(slices, self._first_slice(workers))):
                for worker, context in contexts.items():
                    with self._set_aside(part, worker):
                        worker.take(part, context, rows, following)
            for worker, context in contexts.items():
                with self._set_aside(part, worker):
                    worker.finish(part, context, rows_read)

    def _slices(self, workers: Sequence[StepWorker], part: int, rows_read: Rows) -> Iterator[Rows]:
        if workers:
            with self._set_aside(part, workers[0]):
                yield from slices_of([worker.planned for worker in workers], part, rows_read)

    def _first_slice(self, workers: Sequence[StepWorker]) -> Iterator[Rows]:
        """Yield the first slice of the part that follows; no rows if they are not known before this lane begins it."""
        rows, rows_read = Rows(), Rows()
        if self.following is not None and workers[0] is self.workers[0]:
            with suppress(Unavailable, Damaged, StoreUnreachable, OSError):  # the part itself will meet them
                rows = next(slices_of([worker.planned for worker in workers], self.following, rows_read), rows)
                self.ahead = {self.following: rows_read}
        yield rows

    def expect(self, part: int | None) -> None:
        """Take note of the part that follows: its first clips are loaded while the last ones before are asked about."""
        self.following = part

    def refresh(self) -> None:
        """Have each step list its folder again before its next part."""
        self.ahead = {}
        for worker in self.workers:
            worker.forget_listing()

    @contextmanager
    def _set_aside(self, part: int, worker: StepWorker) -> Iterator[None]:
        """Convert an error of one part to SetAside; a full disk ends the run."""
        try:
            with self._as_set_aside(part, worker.planned.step.name):
                yield
        except SetAside:
            worker.metrics.set_aside()
            raise

    @contextmanager
    def _as_set_aside(self, part: int, step: str) -> Iterator[None]:
        try:
            yield
        except (SetAside, RunError, ConfigError):
            raise
        except (Unavailable, Damaged, StoreUnreachable) as error:
            raise SetAside(part, step, str(error), by_gpu=isinstance(error, GpuBroken)) from error
        except Exception as error:
            if is_full(error):
                where = f"part {part} of step '{step}'"
                raise RunError(f"no space left for {where}: {error}; make space and run again") from error
            if not self.isolate:
                raise
            raise SetAside(part, step, error_line(error), traceback.format_exc()) from error

    def close(self) -> None:
        """End the steps' processes."""
        for worker in self.workers:
            worker.close()


def group_by_process(steps: Sequence[PlannedStep]) -> list[list[PlannedStep]]:
    """Group the steps by process: neighbours that share weights in one process, every other step in its own."""
    groups: list[list[PlannedStep]] = []
    for planned in steps:
        if groups and planned.step.shares and planned.step.shares == groups[-1][-1].step.shares:
            groups[-1].append(planned)
        else:
            groups.append([planned])
    return groups


def _workers(group: Sequence[PlannedStep], session: str, isolate: bool) -> list[StepWorker]:
    sandbox = (Sandbox if isolate else InProcess)(*(planned.step for planned in group))
    return [StepWorker(planned, session, sandbox, number) for number, planned in enumerate(group)]
