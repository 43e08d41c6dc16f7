"""Draw pictures of noise of many scales, as backgrounds with texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = (3, 6, 12, 24, 48)  # cells a side of each scale
CONTRAST = 45  # standard deviation, in grey levels
BRIGHTNESS = (90, 150)  # least and largest mean, in grey levels


def landscape(draw: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Draw noise of many scales, the coarser the stronger, in three colours."""
    total = np.zeros((height, width, 3))
    for cells in CELLS:
        coarse = draw.standard_normal((cells, cells, 3)) + draw.standard_normal((cells, cells, 1))
        rows, columns = np.linspace(0, cells - 1.001, height), np.linspace(0, cells - 1.001, width)
        total += _stretch(coarse, rows, columns) / cells**0.7
    spread = np.clip(total / total.std() * CONTRAST + draw.uniform(*BRIGHTNESS), 0, 255)
    return np.asarray(spread.astype(np.uint8))


def _stretch(
    coarse: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate between the cells of a coarse picture."""
    y, x = rows.astype(int), columns.astype(int)
    v, u = (rows - y)[:, None, None], (columns - x)[None, :, None]
    above = coarse[y][:, x] * (1 - u) + coarse[y][:, x + 1] * u
    below = coarse[y + 1][:, x] * (1 - u) + coarse[y + 1][:, x + 1] * u
    return np.asarray(above * (1 - v) + below * v)
