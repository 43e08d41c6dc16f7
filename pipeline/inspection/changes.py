"""Score changes between the stored frames of a clip: a still picture, a slideshow, the area that stays the same.

Frames are compared by the means of blocks of 8 x 8 pixels, in which the noise of cameras and codecs averages out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.float32]  # (frames, rows, columns), 0..255
CHANGED = 4.0  # grey levels from which the mean of a block has changed
NEVER = 8.0  # grey levels by which grain does not change the mean of a block
NOISE = 0.03, 0.002  # shares of blocks that may change by CHANGED and by NEVER between two frames of one picture


@dataclass(frozen=True)
class Changes:
    """Scores of the changes between neighbouring frames, see `Inspection`."""

    still: float
    still_area: float
    slideshow: float


def measure_changes(blocks: Blocks) -> Changes | None:
    """Return the scores; None for a single frame."""
    if len(blocks) < 2:
        return None
    change = np.abs(np.diff(blocks, axis=0))
    changed, strongly = ((change >= least).mean(axis=(1, 2)) for least in (CHANGED, NEVER))
    same = (changed <= NOISE[0]) & (strongly <= NOISE[1])
    return Changes(float(same.mean()), float(1 - changed.mean()), _measure_slideshow(same))


def _measure_slideshow(same: NDArray[np.bool_]) -> float:
    """Return the share of frames in still pictures if there are several. same: of each frame and the next."""
    starts = np.flatnonzero(same & ~np.concatenate(([False], same[:-1])))
    if len(starts) < 2:
        return 0.0
    return float((same.sum() + len(starts)) / (len(same) + 1))
