"""`ola train`: train a recipe in this process or on several ranks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from manifests.storage import is_local, normal
from ola import locate_model
from pipeline.annotation.model_digest import digest_of
from pipeline.engine.engines import RayEngine
from pipeline.errors import ConfigError
from stages.ranks import World, never_stopped
from stages.recipe import read_recipe
from stages.trainer import Training, train

STEP = re.compile(r"step (\d+)/(\d+) · ")  # of StepFigures.line


class TrainingDisplay:
    """Shows the training: in a terminal a bar with the last step's figures, elsewhere a line per step."""

    def __init__(self, console: Console) -> None:
        left, figures = TimeRemainingColumn(compact=True), TextColumn("{task.description}", markup=False)
        columns = (BarColumn(20), MofNCompleteColumn(), left, figures)
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.bar = self.progress.add_task("", visible=False)

    def __call__(self, line: str) -> None:
        """Show a line of the training's log."""
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
    is_stop_asked: Callable[[], bool] = never_stopped,
    **options: Any,
) -> Path:
    """Train a recipe; return the folder of the last checkpoint. Raises StagesError or ConfigError.

    is_stop_asked: returns whether to save and stop after the current step.
    """
    if not shards:
        raise ConfigError("--shards: expected the root of a packed run, or a folder with shards.parquet, got nothing")
    if not is_local(out):
        raise ConfigError(f"--out: expected a local folder that all ranks reach, got {out!r}")
    if not locate_model(model).is_dir():
        raise ConfigError(f"--model: expected a folder of weights, got {model!r}, which does not exist")
    # absolute paths, since ranks on Ray have another working directory
    sources, start, folder = tuple(map(normal, shards)), normal(str(locate_model(model))), normal(out)
    training = Training(read_recipe(name, settings), sources, start, folder, weights=digest_of(start)[:16], **options)
    display = TrainingDisplay(Console())
    with display.progress:
        if workers == 1:
            return _train_here(training, display, is_stop_asked)
        return _train_on_ray(training, workers, display, is_stop_asked)


def _train_here(training: Training, display: TrainingDisplay, is_stop_asked: Callable[[], bool]) -> Path:
    import torch

    return train(
        training, World(device="cuda" if torch.cuda.is_available() else "cpu", stop_requested=is_stop_asked), display
    )


def _train_on_ray(
    training: Training, workers: int, display: TrainingDisplay, is_stop_asked: Callable[[], bool]
) -> Path:
    """Train on a Ray cluster, on one GPU per rank if the cluster has GPUs."""
    from stages.distributed import train_on_ray

    engine = RayEngine()
    try:
        engine.connect()
        engine.check(training.out, [training.model, *training.sources])
        kind = engine.kind_of_ranks(workers)
        display(f"{workers} ranks with a {kind} each")
        return train_on_ray(training, workers, display, kind == "GPU", is_stop_asked)
    finally:
        engine.close()
