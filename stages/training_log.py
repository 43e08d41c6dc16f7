"""Log a training: one line per step, and its figures and tasks as Parquet.

Rows since the last checkpoint stay in memory and are written with the next one: files match the checkpoint from which
training resumes, and a task that is read again after a kill has one row.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from stages.trackers import Tracker, open_tracker

WINDOW, MIN_STEPS = 50, 20  # steps of a kind whose losses a spike is compared with: at most, at least
# LEAST_SPIKE: nats above the median. With a median close to 0, one wrong word in hundreds is many times the median.
# RARE: factor on the loss that one step in 20 exceeds. Small batches of easy and hard tasks vary without a fault.
LEAST_SPIKE, RARE = 0.5, 1.25
FILE = re.compile(r"step-(\d+)\.parquet")


@dataclass(frozen=True)
class StepFigures:
    """The figures of one step.

    loss: nats per supervised token; by_kind: the loss of each kind of task; norm: of the gradient. mfu: share of the
    device's peak FLOP/s; None: unknown. waited: share of the step's time spent waiting for data.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    norm: float
    rates: Mapping[str, float]
    tokens: int
    seconds: float
    waited: float
    mfu: float | None
    by_kind: Mapping[str, float]
    samples: Mapping[str, int]
    skipped: int

    def line(self) -> str:
        """Format the figures as one line."""
        rates = " ".join(f"{name} {rate:.1e}" for name, rate in self.rates.items())
        kinds = " ".join(f"{kind} {loss:.2f}" for kind, loss in self.by_kind.items())
        stages = " ".join(f"{stage} {count}" for stage, count in self.samples.items())
        mfu = "" if self.mfu is None else f" · mfu {self.mfu:.1%}"
        skipped = f" · skipped {self.skipped}" if self.skipped else ""
        return (
            f"step {self.step}/{self.steps} · loss {self.loss:.4f} ({kinds}) · norm {self.norm:.2f} · lr {rates} · "
            f"{self.tokens / self.seconds:.0f} tokens/s{mfu} · waited {self.waited:.1%} · samples {stages}{skipped}"
        )

    def values(self) -> dict[str, float]:
        """Return the figures that trackers show."""
        shown = {"loss": self.loss, "norm": self.norm, "tokens/s": self.tokens / self.seconds}
        return shown | {f"loss/{kind}": loss for kind, loss in self.by_kind.items()}

    def row(self) -> dict[str, Any]:
        """Return the figures as a row; mappings become lists of pairs, so that all files have the same columns."""
        facts = dict(vars(self))
        for name in ("rates", "by_kind", "samples"):
            facts[name] = [{"name": key, "value": float(value)} for key, value in facts[name].items()]
        return facts


PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
LOG = pa.schema(
    [
        *((name, pa.int64()) for name in ("step", "steps", "epoch", "tokens", "skipped")),
        *((name, pa.float64()) for name in ("loss", "norm", "seconds", "waited", "mfu")),
        *((name, PAIRS) for name in ("rates", "by_kind", "samples")),
    ]
)
READ_SCHEMA = pa.schema([("step", pa.int64()), ("epoch", pa.int64()), ("task", pa.string())])


class TrainingLog:
    """The log of one phase, below its folder. trackers: see `stages.trackers`. spike: as in the recipe."""

    def __init__(self, folder: Path, trackers: Sequence[str] = (), spike: float = 4.0) -> None:
        self.folder, self.names, self.trackers = folder, trackers, list[Tracker]()
        self.folders = {"log": folder / "log", "read": folder / "read"}
        self.figures: list[dict[str, Any]] = []
        self.read: list[dict[str, Any]] = []
        self.spike = spike
        self.losses: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def __enter__(self) -> Self:
        """Open the trackers. Raises StagesError if a tracker cannot be opened."""
        run = f"{self.folder.parent.name}-{self.folder.name}"
        for name in self.names:
            self.trackers.append(open_tracker(name, run, self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        while self.trackers:
            self.trackers.pop().finish()

    def delete_after(self, step: int) -> None:
        """Delete the log files of steps after `step`, which no checkpoint has."""
        for folder in self.folders.values():
            for path in folder.glob("*.parquet"):
                if (match := FILE.fullmatch(path.name)) and int(match[1]) > step:
                    path.unlink()

    def is_spike(self, learned: Mapping[str, tuple[float, float]]) -> bool:
        """Return whether a step's loss is far above the losses of its kinds of task in earlier steps.

        learned: nats and supervised tokens by kind. Kinds with fewer than `MIN_STEPS` earlier steps are ignored.
        """
        known = {kind: pair for kind, pair in learned.items() if pair[1] and len(self.losses[kind]) >= MIN_STEPS}
        bound = sum(tokens * self._spike_bound(self.losses[kind]) for kind, (_, tokens) in known.items())
        return bool(self.spike and known) and sum(nats for nats, _ in known.values()) > bound

    def _spike_bound(self, losses: Sequence[float]) -> float:
        median, rare = statistics.median(losses), statistics.quantiles(losses, n=20)[-1]
        return max(self.spike * median, median + LEAST_SPIKE, RARE * rare)

    def add(self, figures: StepFigures, tasks: Sequence[str]) -> None:
        """Add the figures of a finished step, and its tasks."""
        for kind, loss in figures.by_kind.items():
            self.losses[kind].append(loss)
        self.figures.append(figures.row())
        at = {"step": figures.step, "epoch": figures.epoch}
        self.read += [{**at, "task": task} for task in tasks]
        for tracker in self.trackers:
            tracker.log(figures.values(), figures.step)

    def take_tables(self) -> dict[str, pa.Table]:
        """Return the rows since the last call as tables."""
        tables = {
            "log": pa.Table.from_pylist(self.figures, LOG),
            "read": pa.Table.from_pylist(self.read, READ_SCHEMA),
        }
        self.figures, self.read = [], []
        return tables

    def write(self, step: int, tables: Mapping[str, pa.Table]) -> None:
        """Write the tables of the steps up to `step`. Raises OSError."""
        for name, table in tables.items():
            self.folders[name].mkdir(parents=True, exist_ok=True)
            pq.write_table(table, self.folders[name] / f"step-{step:06d}.parquet")
