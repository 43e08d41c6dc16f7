"""The Ola model: encoders, projectors, decoder, processor, weights, generation and streamed speech."""

from __future__ import annotations

from pathlib import Path

NANO = "nano"
"""The model that comes with this package, by its name."""


def located(model: str | Path) -> Path:
    """The folder of a model: `nano` is the one that comes with this package, where no folder has that name."""
    packaged = str(model) == NANO and not Path(model).is_dir()
    return Path(__file__).with_name(NANO) if packaged else Path(model)
