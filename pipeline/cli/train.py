"""`ola train`: from the command line's words to a training, in this process or on several ranks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from manifests.storage import is_local, normal
from ola import located
from pipeline.annotation.model_digest import digest_of
from pipeline.engine.engines import RayEngine
from pipeline.errors import ConfigError
from stages.ranks import World, never_stopped
from stages.recipe import read_recipe
from stages.trainer import Training, train

STEP = re.compile(r"step (\d+)/(\d+) · ")  # of Figures.line


class Shown:
    """What the training says: in a terminal a bar with the last step's figures, elsewhere a line a step."""

    def __init__(self, console: Console) -> None:
        left, figures = TimeRemainingColumn(compact=True), TextColumn("{task.description}", markup=False)
        columns = (BarColumn(20), MofNCompleteColumn(), left, figures)
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.bar = self.progress.add_task("", visible=False)

    def __call__(self, line: str) -> None:
        """A line of the training."""
        step = STEP.match(line)
        if step is None or self.progress.disable:
            self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self.progress.reset(self.bar, visible=False)
        else:
            done, of = (int(number) for number in step.groups())
            self.progress.update(self.bar, completed=done, total=of, visible=True, description=line[step.end() :])


def train_and_report(
    name: str,
    settings: Sequence[str],
    shards: Sequence[str],
    model: str,
    out: str,
    workers: int,
    asked: Callable[[], bool] = never_stopped,
    **options: Any,
) -> Path:
    """Train a recipe; returns the folder of the last checkpoint. Raises StagesError or ConfigError.

    asked: whether to save and stop after the step in hand.
    """
    if not shards:
        raise ConfigError("--shards: expected the root of a packed run, or a folder with shards.parquet, got nothing")
    if not is_local(out):
        raise ConfigError(f"--out: expected a local folder that all ranks reach, got {out!r}")
    if not located(model).is_dir():
        raise ConfigError(f"--model: expected a folder of weights, got {model!r}, which does not exist")
    # absolute: ranks on Ray have a folder of their own
    sources, start, folder = tuple(map(normal, shards)), normal(str(located(model))), normal(out)
    training = Training(read_recipe(name, settings), sources, start, folder, weights=digest_of(start)[:16], **options)
    shown = Shown(Console())
    with shown.progress:
        return _alone(training, shown, asked) if workers == 1 else _on_ray(training, workers, shown, asked)


def _alone(training: Training, shown: Shown, asked: Callable[[], bool]) -> Path:
    import torch

    return train(training, World(device="cuda" if torch.cuda.is_available() else "cpu", stop_requested=asked), shown)


def _on_ray(training: Training, workers: int, shown: Shown, asked: Callable[[], bool]) -> Path:
    """Train on ranks with a GPU each where the cluster has any, whatever this machine has."""
    from stages.distributed import train_on_ray

    engine = RayEngine()
    try:
        engine.connect()
        engine.check(training.out, [training.model, *training.sources])
        kind = engine.kind_of_ranks(workers)
        shown(f"{workers} ranks with a {kind} each")
        return train_on_ray(training, workers, shown, kind == "GPU", asked)
    finally:
        engine.close()
