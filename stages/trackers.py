"""Send the figures of each step to experiment trackers: TensorBoard, trackio, Weights & Biases, MLflow, or your own.

In: the name of a tracker, or `module:factory`; a factory is called with the name of the run and the folder of the
phase. Out: a `Tracker`. Only the first rank has trackers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from stages.errors import StagesError

PROJECT = "ola"  # under which trackers list the runs


class Tracker(Protocol):
    """Takes figures."""

    def log(self, values: Mapping[str, float], step: int) -> object:
        """Take the figures of a step."""

    def finish(self) -> object:
        """End the run."""


class TensorBoard:
    """Files in the folder `board`, by tensorboardX."""

    def __init__(self, run: str, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder / "board"))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the figures of a step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the files."""
        self.writer.close()


class Trackio:
    """A run of the package trackio."""

    def __init__(self, run: str, folder: Path) -> None:
        import trackio

        self.module: Any = trackio
        trackio.init(project=PROJECT, name=run)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the figures of a step."""
        self.module.log(dict(values), step=step)

    def finish(self) -> None:
        """End the run."""
        self.module.finish()


class Wandb:
    """A run of Weights & Biases; its files are written to the folder of the phase."""

    def __init__(self, run: str, folder: Path) -> None:
        import wandb

        self.run: Any = wandb.init(project=PROJECT, name=run, dir=str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the figures of a step."""
        self.run.log(dict(values), step=step)

    def finish(self) -> None:
        """End the run."""
        self.run.finish()


class MLflow:
    """A run of MLflow, at the server that its environment variables name."""

    def __init__(self, run: str, folder: Path) -> None:
        import mlflow

        self.module: Any = mlflow
        mlflow.set_experiment(PROJECT)
        mlflow.start_run(run_name=run)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the figures of a step."""
        self.module.log_metrics(dict(values), step=step)

    def finish(self) -> None:
        """End the run."""
        self.module.end_run()


NAMED: dict[str, Callable[[str, Path], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": Wandb,
    "mlflow": MLflow,
}


def open_tracker(name: str, run: str, folder: Path) -> Tracker:
    """Open a tracker. Raises StagesError for an unknown name, and where its package or the factory is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _factory(name)(run, folder)
    except (ImportError, AttributeError) as error:
        raise StagesError(f"tracker {name}: {error}; install its package, or name another tracker") from error


def _factory(name: str) -> Callable[[str, Path], Tracker]:
    if name in NAMED:
        return NAMED[name]
    module, colon, factory = name.partition(":")
    if not colon:
        raise StagesError(f"tracker: expected {', '.join(NAMED)} or module:factory, got {name!r}")
    return cast(Callable[[str, Path], Tracker], getattr(importlib.import_module(module), factory))
