"""Score a sound with BEATs' AudioSet head, from a checkpoint that the user names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.hearing.classes import read_classes
from pipeline.hearing.spans import Scores


class BeatsClassifier:
    """A finetuned BEATs. classes: those of the columns of `score`."""

    def __init__(self, weights: str) -> None:
        """Load the checkpoint. Raises ConfigError for a file that is none, or has classes that AudioSet has not."""
        from ola.checkpoint import BadCheckpoint
        from ola.sound_tagging import load_tagger

        file = find_checkpoint(weights)
        try:
            self.tagger = load_tagger(file)
        except BadCheckpoint as error:
            raise ConfigError(f"hear.weights: {error}") from error
        known = read_classes()
        if unknown := [mid for mid in self.tagger.classes if mid not in known]:
            raise ConfigError(f"hear.weights: {file}: expected AudioSet's classes, got {', '.join(unknown[:5])}")
        self.classes = tuple(known[mid] for mid in self.tagger.classes)

    def score(self, padded: NDArray[np.float32]) -> Scores:
        """Score 16 kHz mono (S,) in -1..1 that fills whole windows: (W, C)."""
        return self.tagger.score(padded)


def find_checkpoint(weights: str) -> Path:
    """Return the file of a setting that names it, or a folder with one `BEATs*.pt`. Raises ConfigError."""
    place = Path(weights).expanduser()
    if place.is_file():
        return place
    found = sorted(place.glob("BEATs*.pt"))
    if len(found) != 1:
        got = f"{weights} with {len(found)} of them" if place.is_dir() else f"{weights}, which does not exist"
        raise ConfigError(f"hear.weights: expected a `.pt` file, or a folder with one `BEATs*.pt`, got {got}")
    return found[0]
