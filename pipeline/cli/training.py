"""`ola train`: from the command line's words to a training, in this process or on several ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.engines import OnRay
from pipeline.errors import ConfigError
from stages.recipe import recipe
from stages.trainer import Training, World, train


def train_and_report(
    name: str, settings: Sequence[str], shards: Sequence[str], model: str, out: str, workers: int, **options: Any
) -> Path:
    """Train a recipe; returns the folder of the last checkpoint. Raises StagesError or ConfigError."""
    import torch

    if not shards:
        raise ConfigError("--shards is missing: the root of a run that has packed, or a folder with shards.parquet")
    training = Training(recipe(name, settings), tuple(shards), model, out, **options)
    gpus = torch.cuda.is_available()
    if workers == 1:
        return train(training, World(device="cuda" if gpus else "cpu"))
    from stages.launch import train_on_ray

    engine = OnRay()
    try:
        engine.connect()
        return train_on_ray(training, workers, gpus=gpus)
    finally:
        engine.close()
