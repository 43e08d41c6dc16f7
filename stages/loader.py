"""Steps of an epoch, read and decoded: what the trainer loops over.

    Order ─ rows of a step ─► places in shards ─► packs r, r + R, ... of rank r ─ workers ─► Prompts ─► Step

The packs go through torch's `DataLoader`, whose sampler begins at the step that is asked for: nothing is read to get
there. A task is read from its own span of its shard, and its media are decoded by PIL and `OlaProcessor`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
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
from stages.decoding import Decoder, Loaded, Pack, reason
from stages.errors import StagesError
from stages.sampling import Order

PREFETCH = 2  # packs a worker is ahead; each takes up to 40 MB of pixels


@dataclass(frozen=True, eq=False)
class Step:
    """What one rank reads of one step.

    number: within the phase. packs: this rank's, equally many on each. rows: of all ranks, what was skipped included.
    skipped: this rank's tasks that could not be read, a line each. waited: seconds until the packs were there.
    """

    number: int
    epoch: int
    packs: tuple[Pack, ...]
    rows: np.ndarray
    skipped: tuple[str, ...]
    waited: float


class Planned(NamedTuple):
    """A step before it is read: its rows, the packs to read, and how many of this rank's packs count, of how many.

    tasks: of the whole epoch, on all ranks.
    """

    number: int
    epoch: int
    tasks: int
    rows: np.ndarray
    packs: list[np.ndarray]
    own: int
    each: int


@dataclass(frozen=True, eq=False)
class Loader:
    """Steps `first` to `last` (without it) of a phase, as rank `rank` of `ranks` reads them in `workers` processes.

    What a step holds does not depend on ranks or workers. With no worker everything is read in this process.
    Raises StagesError, one line: for a task that cannot be read, naming its shard and sample, once more of them than
    the phase's `tolerance` of this rank's tasks of an epoch were skipped; and for a worker that was killed.
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
        planned, ahead = tee(self._planned())
        # closed on an error too, whose traceback would keep the workers
        with closing(self._loaded(self.catalogue.places(rows) for plan in ahead for rows in plan.packs)) as loaded:
            yield from self._steps(planned, loaded)

    def _steps(self, planned: Iterator[Planned], loaded: Iterator[Loaded]) -> Iterator[Step]:
        allowance = Allowance(self.order.phase.tolerance, self.ranks)
        latest: Pack | None = None
        for plan in planned:
            started = time.perf_counter()
            read = [next(loaded) for _ in plan.packs]
            waited = time.perf_counter() - started
            skipped = tuple(line for one in read[: plan.own] for line in one.faults)
            allowance.take(plan, skipped)
            latest = next((one.pack for one in reversed(read) if one.pack.rows), latest)
            packs = [one.pack for one in read[: plan.own] if one.pack.rows]
            packs += [_stand_in(latest, skipped)] * (plan.each - len(packs))
            yield Step(plan.number, plan.epoch, tuple(packs), plan.rows, skipped, waited)
            del read, packs  # else two steps' pixels would be in memory at once
            latest = latest if self.order.phase.tolerance else None  # only for a step that is bad all through

    def _planned(self) -> Iterator[Planned]:
        """The steps in order; epochs follow one another, so that none is made twice."""
        if self.first >= self.last:
            return
        epoch, at = self.order.at(self.first)
        for number in range(self.first, self.last):
            if at == len(self.order.epoch(epoch)):
                epoch, at = epoch + 1, 0
            tasks, packs = len(self.order.epoch(epoch).rows), self.order.epoch(epoch).packs(at)
            own = packs[self.rank :: self.ranks]
            each = -(-len(packs) // self.ranks)
            yield Planned(number, epoch, tasks, np.concatenate(packs), own or packs[:1], len(own), each)
            at += 1

    def _loaded(self, wanted: Iterator[list[Place]]) -> Generator[Loaded, None, None]:
        """The packs, in order."""
        loading: Any = iter(self._torch_loader(wanted))
        try:
            for answer in _raising(loading):
                if isinstance(answer, StagesError):
                    raise answer
                retries.tally.add(answer.tried_again)
                yield answer
        finally:
            if self.workers:
                loading._shutdown_workers()  # else they live on until the garbage is collected

    def _torch_loader(self, wanted: Iterator[list[Place]]) -> DataLoader[Loaded | StagesError]:
        options: dict[str, Any] = {}
        if self.workers:
            options = {"prefetch_factor": PREFETCH, "multiprocessing_context": _context()}
        return DataLoader(
            Decoder(self.processor, self.order.phase.frames),
            batch_size=None,
            sampler=wanted,  # an index is whatever the dataset takes
            num_workers=self.workers,
            collate_fn=_as_it_is,
            worker_init_fn=partial(_set_up, dict(os.environ)),
            generator=torch.Generator(),  # without one of its own it draws from the trainer's
            **options,
        )


class Allowance:
    """How many tasks a rank may skip: `tolerance` of its share of an epoch, rounded up, since it began the epoch."""

    def __init__(self, tolerance: float, ranks: int) -> None:
        self.tolerance, self.ranks = tolerance, ranks
        self.epoch, self.skipped = -1, 0

    def take(self, plan: Planned, faults: Sequence[str]) -> None:
        """Count skipped tasks. Raises StagesError when they are too many."""
        if plan.epoch != self.epoch:
            self.epoch, self.skipped = plan.epoch, 0
        self.skipped += len(faults)
        allowed = math.ceil(self.tolerance * plan.tasks / self.ranks)
        if faults and self.skipped > allowed:
            counted = f"{self.skipped} tasks of epoch {plan.epoch} cannot be read where `tolerance` allows {allowed}: "
            raise StagesError((counted if self.tolerance else "") + faults[0])


def _stand_in(latest: Pack | None, skipped: Sequence[str]) -> Pack:
    if latest is None:
        raise StagesError(f"no task of the first step can be read: {skipped[0]}")
    return replace(latest, counts=False)


def _raising(loaded: Iterator[Any]) -> Iterator[Any]:
    """What torch loads; a worker that died as a StagesError."""
    try:
        yield from loaded
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise StagesError(
            f"a process of the loader died ({reason(error)}): the machine has too little memory, or too little in "
            "/dev/shm; take fewer workers"
        ) from error


def _context() -> Any:
    """Workers begin from a server that has imported this module and nothing else.

    A fork of the trainer would take over its threads' locks, its connections to a store and its CUDA context.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.loader_server", __name__])
    return context


def _set_up(environment: dict[str, str], worker: int) -> None:
    """Ctrl-C is for the trainer, which ends its workers. Tensors go by name: a descriptor each would use them up.

    The environment is the trainer's of now: the server may be older than what names a store and its credentials.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()


def _end_with_the_trainer() -> None:
    """torch looks for the parent's death, which here is the server; and that waits for its workers."""
    trainer = multiprocessing.parent_process()
    if trainer is not None:
        trainer.join()
        os._exit(1)


def _as_it_is(loaded: Any) -> Any:
    return loaded
