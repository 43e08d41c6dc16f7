"""Find the checkpoints of trainings that have learned from removed videos.

A phase of a training records the tasks that it has read (`OUT/<phase>/read`), and each of its checkpoints the folder
of the weights from which the phase started. A checkpoint has learned from a video if its phase read a task of the video
up to the checkpoint's step, or if the phase started from such a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.records import ID_DIGITS
from pipeline.errors import ConfigError
from stages.checkpoints import DONE, FACTS

READ = "read/step-*.parquet"  # below the folder of a phase


@dataclass(frozen=True)
class LearnedPhase:
    """A phase of a training whose checkpoints have learned from removed videos.

    tasks: how often it read a task of these videos; first_step: when first, or None if it read none and started from
    `start`, a checkpoint that had. checkpoints: folders of those that have learned from the videos.
    """

    phase: str
    tasks: int
    first_step: int | None
    start: str | None
    checkpoints: tuple[str, ...]


@dataclass(frozen=True)
class _Phase:
    """A phase on disk. steps: of each task of the videos that it read."""

    folder: Path
    steps: tuple[int, ...]

    @cached_property
    def checkpoints(self) -> dict[int, Path]:
        return {_step_of(done.parent): done.parent for done in sorted(self.folder.glob(f"step-*/{DONE}"))}

    @cached_property
    def start(self) -> Path | None:
        """Return the folder of the weights at the beginning; None where an older version did not record it."""
        for folder in self.checkpoints.values():
            state: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            return (self.folder / state["start"]).resolve() if state.get("start") else None
        return None

    @cached_property
    def began(self) -> float:
        return min(file.stat().st_mtime for file in self.folder.glob(READ))


def find_learned(trainings: Iterable[str], videos: frozenset[str]) -> list[LearnedPhase]:
    """Return the phases below some folders that have learned from these videos, in the order of their folders.

    Raises ConfigError for a folder without a training.
    """
    phases = [phase for training in trainings for phase in _read_phases(Path(training), videos)]
    first: dict[Path, int] = {phase.folder: min(phase.steps) for phase in phases if phase.steps}
    sources: dict[Path, Path] = {}
    while new := {p.folder: s for p in phases if p.folder not in sources and (s := _source(p, phases, first))}:
        sources |= new
        first |= dict.fromkeys(new, 0)
    return [
        _learned(phase, first[phase.folder], sources.get(phase.folder)) for phase in phases if phase.folder in first
    ]


def _read_phases(training: Path, videos: frozenset[str]) -> list[_Phase]:
    folders = sorted({file.parent.parent.resolve() for file in training.rglob(READ)})
    if not folders:
        raise ConfigError(
            f"--trained {training}: expected the folder of a training, with PHASE/{READ}, got none; name the --out of "
            "`ola train`"
        )
    return [_Phase(folder, tuple(_read_steps(folder, videos))) for folder in folders]


def _read_steps(folder: Path, videos: frozenset[str]) -> Iterable[int]:
    """Yield the step of each task of the videos that a phase has read; a task's id begins with that of its video."""
    wanted = pa.array(sorted(videos), pa.string())
    for file in sorted(folder.glob(READ)):
        table = pq.read_table(file, columns=["step", "task"])
        is_wanted = pc.is_in(pc.utf8_slice_codeunits(table["task"], 0, ID_DIGITS), wanted)
        yield from table.filter(is_wanted)["step"].to_pylist()


def _source(phase: _Phase, phases: Sequence[_Phase], first: dict[Path, int]) -> Path | None:
    """Return the checkpoint from which a phase started, if that has learned from the videos."""
    if phase.start is not None:
        reached = first.get(phase.start.parent)
        return phase.start if reached is not None and _step_of(phase.start) >= reached else None
    earlier = [each for each in phases if each.folder.parent == phase.folder.parent and each.began < phase.began]
    learned = [each for each in earlier if each.folder in first and each.checkpoints]
    return max(learned[-1].checkpoints.items())[1] if learned else None


def _step_of(checkpoint: Path) -> int:
    number = checkpoint.name.partition("step-")[2]
    return int(number) if number.isdigit() else -1


def _learned(phase: _Phase, first: int, source: Path | None) -> LearnedPhase:
    found = tuple(str(folder) for step, folder in phase.checkpoints.items() if step >= first)
    start = None if source is None else str(source)
    return LearnedPhase(str(phase.folder), len(phase.steps), min(phase.steps, default=None), start, found)
