"""The Ola model: encoders, projectors, decoder, processor, weights, generation and streaming speech."""

from __future__ import annotations

from pathlib import Path

NANO = "nano"
"""Name of the small model in this package."""


def locate_model(model: str | Path) -> Path:
    """Return the folder of a model; for `nano` that of this package's small model, unless a folder has this name."""
    packaged = str(model) == NANO and not Path(model).is_dir()
    return Path(__file__).with_name(NANO) if packaged else Path(model)
