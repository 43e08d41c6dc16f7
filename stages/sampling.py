"""Assign tasks to steps: a pure function of the catalogue, the phase, the seed and the epoch.

    tasks ─ shares, caps, replay ─► draws ─ permuted, some of a sample together ─► packs ─► steps of `batch`

The result does not depend on the number of ranks or workers, so that a step always has the same tasks, and training
resumes at any step without reading earlier ones.
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
SHUFFLED_SHARDS = 4  # shards shuffled together during packing: thousands of samples, minutes of packing


@dataclass(frozen=True, eq=False)
class Epoch:
    """The steps of one epoch. rows: tasks in their order. starts: index in `rows` of each pack, and the end."""

    rows: Rows
    starts: np.ndarray
    batch: int

    def __len__(self) -> int:
        return (len(self.starts) + self.batch - 2) // self.batch

    def packs(self, step: int) -> list[Rows]:
        """Return the packs of a step; the last step may have fewer. Raises IndexError beyond the last step."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of an epoch of {len(self)}")
        bounds = self.starts[step * self.batch : (step + 1) * self.batch + 1]
        return [self.rows[start:end] for start, end in pairwise(bounds)]


class Order:
    """All epochs of a phase. Raises StagesError if the catalogue does not have the phase's kinds of tasks."""

    def __init__(self, catalogue: Catalogue, phase: Phase, seed: int = 0, live: bool = False) -> None:
        """live: the first epoch reads a few shards at a time, in the order in which they are packed."""
        self.phase, self.seed, self.digest, self.live = phase, seed, catalogue.digest, live
        self.tokens = catalogue.numbers("tokens")
        self.shards = catalogue.codes("uri") if live else np.empty(0, np.int64)
        self.samples = catalogue.samples() if phase.together > 1 else np.empty(0, np.int64)
        self.draws_by_name = self._plan_draws(catalogue)
        self._last: tuple[int, Epoch] | None = None

    def epoch(self, number: int) -> Epoch:
        """Return an epoch; the last returned epoch is cached."""
        if self._last is None or self._last[0] != number:
            self._last = (number, self._make_epoch(number))
        return self._last[1]

    def locate_step(self, step: int) -> tuple[int, int]:
        """Return epoch and step within the epoch of a phase's step. Epochs can differ in length by about one step."""
        number = 0
        while step >= (length := len(self.epoch(number))):
            number, step = number + 1, step - length
        return number, step

    def steps(self) -> int:
        """Return the number of steps of the phase."""
        if self.phase.steps is not None:
            return self.phase.steps
        if self.phase.tokens is None:
            shares = {n: min(1.0, self.phase.epochs - n) for n in range(math.ceil(self.phase.epochs))}
            return max(1, sum(round(share * len(self.epoch(n))) for n, share in shares.items()))
        return self._steps_until(self.phase.tokens)

    def mix(self) -> dict[str, float]:
        """Return the recipe's share of each kind in an epoch, and of replayed stages as `replay <stage>`."""
        total = sum(draws for _, draws in self.draws_by_name.values())
        return {name: draws / total for name, (_, draws) in self.draws_by_name.items()}

    def realised_mix(self, steps: int) -> dict[str, float]:
        """Return the realised shares in the first `steps` steps; they differ from `mix` if the last epoch is cut."""
        names, owner = list(self.draws_by_name), np.zeros(len(self.tokens), np.int64)
        for number, (rows, _) in enumerate(self.draws_by_name.values()):
            owner[rows] = number
        counts, number = np.zeros(len(names), np.int64), 0
        while steps > 0:
            epoch = self.epoch(number)
            last = epoch.starts[min(steps * epoch.batch, len(epoch.starts) - 1)]
            counts += np.bincount(owner[epoch.rows[:last]], minlength=len(names))
            number, steps = number + 1, steps - len(epoch)
        return dict(zip(names, (counts / counts.sum()).tolist(), strict=True))

    def _steps_until(self, tokens: int) -> int:
        """Return the number of steps that read so many tokens."""
        steps = number = 0
        while True:
            epoch = self.epoch(number)
            reached = np.cumsum(np.add.reduceat(self.tokens[epoch.rows], epoch.starts[:-1][:: epoch.batch]))
            if tokens <= reached[-1]:
                return steps + int(np.searchsorted(reached, tokens)) + 1
            steps, tokens, number = steps + len(epoch), tokens - int(reached[-1]), number + 1

    def _plan_draws(self, catalogue: Catalogue) -> dict[str, tuple[Rows, int]]:
        """Return, by kind or replay, the tasks to draw from and the number of draws per epoch."""
        stages = catalogue.stages()
        kinds = self._own_kinds(catalogue, stages)
        total = sum(len(rows) for rows in kinds.values())
        draws_by_name = {kind: (kinds[kind], draws) for kind, draws in self._count_draws(kinds).items()}
        for stage, share in self.phase.replay.items():
            if stage not in stages:
                raise StagesError(f"phase {self.phase.name}: replay: no shard has a task of the stage {stage!r}")
            draws = round(total * share / (1 - sum(self.phase.replay.values())))
            draws_by_name[f"replay {stage}"] = (stages[stage], draws)
        return draws_by_name

    def _own_kinds(self, catalogue: Catalogue, stages: Mapping[str, Rows]) -> dict[str, Rows]:
        phase, in_stages = self.phase, np.zeros(len(catalogue), bool)
        for stage in phase.stages:
            in_stages[stages.get(stage, np.empty(0, np.int64))] = True
        found = {kind: rows[in_stages[rows]] for kind, rows in catalogue.kinds().items() if in_stages[rows].any()}
        requested = tuple(found) if phase.tasks == "all" else tuple(phase.tasks)
        if not requested:
            raise StagesError(f"phase {phase.name}: no shard has a task of the stages {', '.join(phase.stages)}")
        if missing := [kind for kind in requested if kind not in found]:
            available = ", ".join(f"{kind} {len(rows)}" for kind, rows in found.items()) or "none"
            raise StagesError(
                f"phase {phase.name}: no shard has a task of the kind {missing[0]!r} (there are: {available})"
            )
        return {kind: self._cap_kind(kind, found[kind]) for kind in requested}

    def _cap_kind(self, kind: str, rows: Rows) -> Rows:
        cap = self.phase.cap.get(kind, len(rows))
        return np.sort(self._random_generator("cap", kind).permutation(rows)[:cap])

    def _count_draws(self, kinds: Mapping[str, Rows]) -> dict[str, int]:
        """Return the number of draws of each kind; their total is the number of tasks, whatever the shares."""
        sizes = {kind: len(rows) for kind, rows in kinds.items()}
        if isinstance(self.phase.tasks, Mapping):
            return apportion(sum(sizes.values()), self.phase.tasks)
        return apportion(sum(sizes.values()), {kind: size**self.phase.balance for kind, size in sizes.items()})

    def _make_epoch(self, number: int) -> Epoch:
        drawn = [
            rows
            for name, (tasks, draws) in self.draws_by_name.items()
            for rows in self._draw(name, tasks, draws, number)
        ]
        rows = self._random_generator("order", str(number)).permutation(np.concatenate(drawn))
        if self.phase.together > 1:
            rows = rows[group_by_sample(self.samples[rows], self.phase.together)]
        if self.live and number == 0:
            rows = rows[np.argsort(self.shards[rows] // SHUFFLED_SHARDS, kind="stable")]
        return Epoch(rows, pack_starts(self.tokens[rows], self.phase.sequence_tokens), self.phase.batch)

    def _draw(self, name: str, rows: Rows, draws: int, epoch: int) -> Iterator[Rows]:
        """Yield `draws` tasks from an endless sequence of permutations: a task repeats only after all others.

        Epoch n takes the draws from number n * draws on.
        """
        start, end = epoch * draws, (epoch + 1) * draws
        for permutation in range(start // len(rows), -(-end // len(rows))):
            first = permutation * len(rows)
            shuffled = self._random_generator(name, str(permutation)).permutation(rows)
            yield shuffled[max(0, start - first) : end - first]

    def _random_generator(self, *names: str) -> np.random.Generator:
        seed = blake3("/".join([str(self.seed), self.digest, *names]).encode()).digest()
        return np.random.Generator(np.random.Philox(key=np.frombuffer(seed[:16], np.uint64)))


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Split `total` by weights into integers with the same sum, each less than 1 from its exact share."""
    weight_sum = sum(weights.values())
    exact = {name: total * weight / weight_sum for name, weight in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def group_by_sample(samples: np.ndarray, most: int) -> np.ndarray:
    """Return an order of tasks in which up to `most` tasks of a sample follow each other, at the place of the first.

    samples: the sample's number of each task. The tasks of a sample keep their order.
    """
    count = len(samples)
    by_sample = np.argsort(samples, kind="stable")
    starts = np.flatnonzero(np.diff(samples[by_sample], prepend=-1))
    in_stages = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    first_of_group = by_sample[np.arange(count) - in_stages % most]  # the first task of each task's group
    place = np.empty(count, np.int64)
    place[by_sample] = first_of_group
    return np.lexsort((np.arange(count), place))


def pack_starts(tokens: np.ndarray, budget: int) -> np.ndarray:
    """Return the start of each pack, and the end. Neighbours are packed while they fit; a task is never split."""
    ends = np.cumsum(tokens)
    fits = np.searchsorted(ends, ends - tokens + budget, side="right")
    after = np.maximum(fits, np.arange(1, len(tokens) + 1)).tolist()
    starts = [0]
    while starts[-1] < len(tokens):
        starts.append(after[starts[-1]])
    return np.array(starts)
