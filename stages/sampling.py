"""Which task comes in which step: a pure function of the catalogue, the phase, the seed and the epoch.

    tasks ─ shares, caps, replay ─► draws ─ permuted, some of a sample together ─► packs ─► steps of `batch`

Nothing here knows of ranks or workers, so that a step holds the same tasks however many there are, and training goes
on at any step without reading what came before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from blake3 import blake3

from stages.catalogue import Catalogue
from stages.errors import StagesError
from stages.recipe import Phase

Rows = np.ndarray
"""Numbers of tasks in the catalogue, int64."""
TOGETHER = 4  # shards that are shuffled together while more are packed: thousands of samples, minutes of packing


@dataclass(frozen=True, eq=False)
class Epoch:
    """The steps of one epoch. rows: tasks in the order they come; starts: of each pack among them, and the end."""

    rows: Rows
    starts: np.ndarray
    batch: int

    def __len__(self) -> int:
        return (len(self.starts) + self.batch - 2) // self.batch

    def packs(self, step: int) -> list[Rows]:
        """The packs of a step; the last step may have fewer. IndexError beyond it."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of an epoch of {len(self)}")
        bounds = self.starts[step * self.batch : (step + 1) * self.batch + 1]
        return [self.rows[start:end] for start, end in pairwise(bounds)]


class Order:
    """All epochs of a phase. Raises StagesError where the phase wants tasks that the catalogue does not have."""

    def __init__(self, catalogue: Catalogue, phase: Phase, seed: int = 0, live: bool = False) -> None:
        """live: the first epoch takes the shards some at a time, in the order in which they are packed."""
        self.phase, self.seed, self.digest, self.live = phase, seed, catalogue.digest, live
        self.tokens = catalogue.numbers("tokens")
        self.shards = catalogue.codes("uri") if live else np.empty(0, np.int64)
        self.samples = catalogue.samples() if phase.together > 1 else np.empty(0, np.int64)
        self.wanted = self._wanted(catalogue)
        self._last: tuple[int, Epoch] | None = None

    def epoch(self, number: int) -> Epoch:
        """The steps of the epoch; the last one that was asked for is kept."""
        if self._last is None or self._last[0] != number:
            self._last = (number, self._made(number))
        return self._last[1]

    def at(self, step: int) -> tuple[int, int]:
        """Epoch, and step within it, of the `step`-th step of all. Epochs may differ by a step or so in length."""
        number = 0
        while step >= (length := len(self.epoch(number))):
            number, step = number + 1, step - length
        return number, step

    def steps(self) -> int:
        """How many steps the phase has."""
        if self.phase.steps is not None:
            return self.phase.steps
        if self.phase.tokens is None:
            shares = {n: min(1.0, self.phase.epochs - n) for n in range(math.ceil(self.phase.epochs))}
            return max(1, sum(round(share * len(self.epoch(n))) for n, share in shares.items()))
        return self._until(self.phase.tokens)

    def mix(self) -> dict[str, float]:
        """The share of each kind in an epoch, as the recipe wants it; a stage that is replayed as `replay <stage>`."""
        total = sum(draws for _, draws in self.wanted.values())
        return {name: draws / total for name, (_, draws) in self.wanted.items()}

    def realised(self, steps: int) -> dict[str, float]:
        """What `mix` comes to in the first `steps` steps: they may end in mid-epoch, and tasks are whole."""
        names, owner = list(self.wanted), np.zeros(len(self.tokens), np.int64)
        for number, (rows, _) in enumerate(self.wanted.values()):
            owner[rows] = number
        counts, number = np.zeros(len(names), np.int64), 0
        while steps > 0:
            epoch = self.epoch(number)
            last = epoch.starts[min(steps * epoch.batch, len(epoch.starts) - 1)]
            counts += np.bincount(owner[epoch.rows[:last]], minlength=len(names))
            number, steps = number + 1, steps - len(epoch)
        return dict(zip(names, (counts / counts.sum()).tolist(), strict=True))

    def _until(self, tokens: int) -> int:
        """Steps until so many tokens have come."""
        steps = number = 0
        while True:
            epoch = self.epoch(number)
            reached = np.cumsum(np.add.reduceat(self.tokens[epoch.rows], epoch.starts[:-1][:: epoch.batch]))
            if tokens <= reached[-1]:
                return steps + int(np.searchsorted(reached, tokens)) + 1
            steps, tokens, number = steps + len(epoch), tokens - int(reached[-1]), number + 1

    def _wanted(self, catalogue: Catalogue) -> dict[str, tuple[Rows, int]]:
        """What is drawn an epoch: the tasks to draw from, and how many of them."""
        stages = catalogue.stages()
        kinds = self._own(catalogue, stages)
        total = sum(len(rows) for rows in kinds.values())
        wanted = {kind: (kinds[kind], draws) for kind, draws in self._draws(kinds).items()}
        for stage, share in self.phase.replay.items():
            if stage not in stages:
                raise StagesError(f"phase {self.phase.name}: replay: no shard has a task of the stage {stage!r}")
            draws = round(total * share / (1 - sum(self.phase.replay.values())))
            wanted[f"replay {stage}"] = (stages[stage], draws)
        return wanted

    def _own(self, catalogue: Catalogue, stages: Mapping[str, Rows]) -> dict[str, Rows]:
        phase, within = self.phase, np.zeros(len(catalogue), bool)
        for stage in phase.stages:
            within[stages.get(stage, np.empty(0, np.int64))] = True
        found = {kind: rows[within[rows]] for kind, rows in catalogue.kinds().items() if within[rows].any()}
        asked = tuple(found) if phase.tasks == "all" else tuple(phase.tasks)
        if not asked:
            raise StagesError(f"phase {phase.name}: no shard has a task of the stages {', '.join(phase.stages)}")
        if lacking := [kind for kind in asked if kind not in found]:
            have = ", ".join(f"{kind} {len(rows)}" for kind, rows in found.items()) or "none"
            raise StagesError(f"phase {phase.name}: no shard has a task of the kind {lacking[0]!r} (there are: {have})")
        return {kind: self._capped(kind, found[kind]) for kind in asked}

    def _capped(self, kind: str, rows: Rows) -> Rows:
        cap = self.phase.cap.get(kind, len(rows))
        return np.sort(self._random("cap", kind).permutation(rows)[:cap])

    def _draws(self, kinds: Mapping[str, Rows]) -> dict[str, int]:
        """How many of each kind; the total stays what it is, whatever the shares."""
        sizes = {kind: len(rows) for kind, rows in kinds.items()}
        if isinstance(self.phase.tasks, Mapping):
            return shared(sum(sizes.values()), self.phase.tasks)
        return shared(sum(sizes.values()), {kind: size**self.phase.balance for kind, size in sizes.items()})

    def _made(self, number: int) -> Epoch:
        drawn = [rows for name, (of, draws) in self.wanted.items() for rows in self._drawn(name, of, draws, number)]
        rows = self._random("order", str(number)).permutation(np.concatenate(drawn))
        if self.phase.together > 1:
            rows = rows[gathered(self.samples[rows], self.phase.together)]
        if self.live and number == 0:
            rows = rows[np.argsort(self.shards[rows] // TOGETHER, kind="stable")]
        return Epoch(rows, packed(self.tokens[rows], self.phase.sequence_tokens), self.phase.batch)

    def _drawn(self, name: str, rows: Rows, draws: int, epoch: int) -> Iterator[Rows]:
        """Draws number epoch * draws and on, of an endless row of permutations: all come before one comes again."""
        start, end = epoch * draws, (epoch + 1) * draws
        for lap in range(start // len(rows), -(-end // len(rows))):
            first = lap * len(rows)
            shuffled = self._random(name, str(lap)).permutation(rows)
            yield shuffled[max(0, start - first) : end - first]

    def _random(self, *names: str) -> np.random.Generator:
        seed = blake3("/".join([str(self.seed), self.digest, *names]).encode()).digest()
        return np.random.Generator(np.random.Philox(key=np.frombuffer(seed[:16], np.uint64)))


def shared(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """`total` by weights: whole numbers that add up, each less than 1 from its share."""
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    given = {name: int(share) for name, share in exact.items()}
    rest = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    for name in rest[: total - sum(given.values())]:
        given[name] += 1
    return given


def gathered(samples: np.ndarray, most: int) -> np.ndarray:
    """An order of tasks that brings up to `most` of a sample together, where the first of them was; the rest later.

    samples: of each task, its sample's number. The tasks of a sample keep their order.
    """
    count = len(samples)
    by_sample = np.argsort(samples, kind="stable")
    starts = np.flatnonzero(np.diff(samples[by_sample], prepend=-1))
    within = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    heads = by_sample[np.arange(count) - within % most]  # the task that each one follows
    place = np.empty(count, np.int64)
    place[by_sample] = heads
    return np.lexsort((np.arange(count), place))


def packed(tokens: np.ndarray, budget: int) -> np.ndarray:
    """Where each pack starts, and the end: neighbours are put together while they fit; a task is never cut."""
    ends = np.cumsum(tokens)
    fits = np.searchsorted(ends, ends - tokens + budget, side="right")
    after = np.maximum(fits, np.arange(1, len(tokens) + 1)).tolist()
    starts = [0]
    while starts[-1] < len(tokens):
        starts.append(after[starts[-1]])
    return np.array(starts)
