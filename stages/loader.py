"""Load the steps of an epoch for the trainer: read and decode their tasks.

    Order ─ rows of a step ─► places in shards ─► packs r, r + R, ... of rank r ─ workers ─► Prompts ─► Step

The packs go through torch's `DataLoader`, whose sampler begins at the requested step without reading earlier ones. A
task is read from its byte range of the shard; PIL and `OlaProcessor` decode its media.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import tee
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from manifests import retries
from ola.processor import OlaProcessor
from stages.catalogue import Catalogue, Place
from stages.decoding import Decoder, LoadedPack, Pack, error_line
from stages.errors import StagesError
from stages.sampling import Order

PREFETCH = 2  # packs that a worker prepares in advance, each with up to 40 MB of pixels


class StepPlan(NamedTuple):
    """A step before it is read.

    tasks: number of tasks in the epoch, on all ranks. rows: of the step, on all ranks. packs: rows of the packs that
    this rank reads, of which the first `own` count. each: packs per rank.
    """

    number: int
    epoch: int
    tasks: int
    rows: np.ndarray
    packs: list[np.ndarray]
    own: int
    each: int


class Step:
    """The data of one step on one rank. Its packs are read when they are asked for, and not kept.

    number: of the step in the phase. rows: of all ranks, with skipped tasks. When all packs are read, skipped has an
    error line for each task that this rank could not read, and waited the seconds spent waiting for packs.
    """

    def __init__(self, plan: StepPlan, loaded: Iterator[LoadedPack], allowance: SkipLimit, spare: Pack | None) -> None:
        """spare: an earlier pack, from which a filler is made if no task of this step can be read."""
        self.number, self.epoch, self.rows = plan.number, plan.epoch, plan.rows
        self.skipped, self.waited, self.spare = list[str](), 0.0, spare
        self._packs = self._read(plan, loaded, allowance)

    def packs(self) -> Iterator[Pack]:
        """Yield the packs that are not yet read; every rank has the same number. Raises the errors of `Loader`."""
        return self._packs

    def _read(self, plan: StepPlan, loaded: Iterator[LoadedPack], allowance: SkipLimit) -> Iterator[Pack]:
        missing = plan.each
        for number in range(len(plan.packs)):
            started = time.perf_counter()
            pack, faults, _ = next(loaded)
            self.waited += time.perf_counter() - started
            self.spare = pack if pack.rows else self.spare
            if number < plan.own:
                self.skipped += faults
                allowance.count(plan, faults)
                if pack.rows:
                    missing -= 1
                    yield pack
        for _ in range(missing):
            yield _filler(self.spare, self.skipped)


@dataclass(frozen=True, eq=False)
class Loader:
    """Iterates over the steps `first` to `last` - 1 of a phase for rank `rank` of `ranks`, read by `workers` processes.

    The content of a step does not depend on ranks or workers. workers 0: this process reads. Raises StagesError for an
    unreadable task, with its shard and sample, if more than the phase's `tolerance` of this rank's tasks of an epoch
    are unreadable, and if a worker was killed.
    """

    catalogue: Catalogue
    order: Order
    processor: OlaProcessor
    first: int
    last: int
    rank: int = 0
    ranks: int = 1
    workers: int = 0

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[Step]:
        plans, plans_ahead = tee(self._plan_steps())
        # closed after an error, too: the traceback would keep the workers alive
        with closing(
            self._load_packs(self.catalogue.locate(rows) for plan in plans_ahead for rows in plan.packs)
        ) as loaded:
            yield from self._read_steps(plans, loaded)

    def _read_steps(self, plans: Iterator[StepPlan], loaded: Iterator[LoadedPack]) -> Iterator[Step]:
        allowance = SkipLimit(self.order.phase.tolerance, self.ranks)
        spare: Pack | None = None
        for plan in plans:
            step = Step(plan, loaded, allowance, spare)
            yield step
            deque(step.packs(), maxlen=0)  # what was not asked for is not part of the next step
            spare = step.spare if self.order.phase.tolerance else None  # only for a step without a readable task

    def _plan_steps(self) -> Iterator[StepPlan]:
        """Yield the steps in order; each epoch is computed once."""
        if self.first >= self.last:
            return
        epoch, at = self.order.locate_step(self.first)
        for number in range(self.first, self.last):
            if at == len(self.order.epoch(epoch)):
                epoch, at = epoch + 1, 0
            tasks, packs = len(self.order.epoch(epoch).rows), self.order.epoch(epoch).packs(at)
            own = packs[self.rank :: self.ranks]
            each = -(-len(packs) // self.ranks)
            yield StepPlan(number, epoch, tasks, np.concatenate(packs), own or packs[:1], len(own), each)
            at += 1

    def _load_packs(self, places: Iterator[list[Place]]) -> Generator[LoadedPack, None, None]:
        """Yield the packs in order. Raises a worker's StagesError."""
        loading: Any = iter(self._torch_loader(places))
        try:
            for item in _translate_worker_death(loading):
                if isinstance(item, StagesError):
                    raise item
                retries.tally.add(item.tried_again)
                yield item
        finally:
            if self.workers:
                loading._shutdown_workers()  # otherwise they live until garbage collection

    def _torch_loader(self, places: Iterator[list[Place]]) -> DataLoader[LoadedPack | StagesError]:
        options: dict[str, Any] = {}
        if self.workers:
            options = {"prefetch_factor": PREFETCH, "multiprocessing_context": _forkserver_context()}
        return DataLoader(
            Decoder(self.processor, self.order.phase.frames),
            batch_size=None,
            sampler=places,  # yields the dataset's indices: lists of places
            num_workers=self.workers,
            collate_fn=_identity,
            worker_init_fn=partial(_init_worker, dict(os.environ)),
            generator=torch.Generator(),  # by default DataLoader draws from the trainer's generator
            pin_memory=torch.cuda.is_available(),
            **options,
        )


class SkipLimit:
    """Counts the skipped tasks of a rank in an epoch; `tolerance` of the rank's tasks, rounded up, is allowed."""

    def __init__(self, tolerance: float, ranks: int) -> None:
        self.tolerance, self.ranks = tolerance, ranks
        self.epoch, self.skipped = -1, 0

    def count(self, plan: StepPlan, faults: Sequence[str]) -> None:
        """Count skipped tasks. Raises StagesError if more are skipped than allowed."""
        if plan.epoch != self.epoch:
            self.epoch, self.skipped = plan.epoch, 0
        self.skipped += len(faults)
        allowed = math.ceil(self.tolerance * plan.tasks / self.ranks)
        if faults and self.skipped > allowed:
            counted = f"{self.skipped} tasks of epoch {plan.epoch} cannot be read; `tolerance` allows {allowed}: "
            raise StagesError((counted if self.tolerance else "") + faults[0])


def _filler(spare: Pack | None, skipped: Sequence[str]) -> Pack:
    if spare is None:
        raise StagesError(f"no task of the first step can be read: {skipped[0]}")
    return replace(spare, counts=False)


def _translate_worker_death(loaded: Iterator[Any]) -> Iterator[Any]:
    """Yield what torch loads. Raises StagesError if a worker died."""
    try:
        yield from loaded
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise StagesError(
            f"a process of the loader died ({error_line(error)}): the machine has too little memory, or too little in "
            "/dev/shm; use fewer workers"
        ) from error


def _forkserver_context() -> Any:
    """Return a context in which workers are forked from a server that has imported only this module.

    A fork of the trainer would inherit its threads' locks, its connections to stores and its CUDA context.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.loader_server", __name__])
    return context


def _init_worker(environment: dict[str, str], worker: int) -> None:
    """Prepare a worker process: environment, signals, sharing of tensors, and its end with the trainer.

    environment: the trainer's, since the server may have been started before credentials of a store were set. Ctrl-C
    is ignored: the trainer ends its workers. Tensors are shared by file name, which uses up no file descriptors.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    threading.Thread(target=_exit_with_trainer, daemon=True).start()


def _exit_with_trainer() -> None:
    """Exit when the trainer exits. torch only watches the parent, the server, which waits for its workers."""
    trainer = multiprocessing.parent_process()
    if trainer is not None:
        trainer.join()
        os._exit(1)


def _identity(loaded: Any) -> Any:
    return loaded
