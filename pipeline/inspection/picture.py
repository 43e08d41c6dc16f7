"""Score single frames: sharpness, spatial and temporal information (ITU-T P.910), black bars, combs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.media.interlace import count_combs
from pipeline.media.render import GREY

Luma = NDArray[np.float32]  # (height, width) or (frames, height, width), 0..255
BLACK, FLAT = 12.0, 6.0  # mean and standard deviation up to which a row or column is part of a bar, grey levels
LIKE_GREY = (2.0, 2.0)  # how near to GREY the mean of padding is, and how flat, after JPEG
LEAST_LEFT = 0.2  # of each axis: more is no bar, but a dark picture
LEAST_CONTRAST = 2.0  # standard deviation of the luma below which a frame has no edge to judge


def find_bars(frames: Luma) -> tuple[slice, slice]:
    """Return the rows and the columns between the black bars that all frames have."""
    return _inner_span(frames, 2, 0, BLACK, FLAT), _inner_span(frames, 1, 0, BLACK, FLAT)


def cut_padding(frames: Luma) -> Luma:
    """Return the frames without the grey with which `extract` pads them to a multiple of 32 pixels."""
    rows, columns = (_inner_span(frames, axis, GREY, *LIKE_GREY) for axis in (2, 1))
    return frames[:, rows, columns]


def _inner_span(frames: Luma, axis: int, level: float, near: float, flat: float) -> slice:
    """Return the rows (axis=2) or columns (axis=1) between edges of one grey level; all if too little were left."""
    is_edge = (np.abs(frames.mean(axis) - level) <= near).all(0) & (frames.std(axis) <= flat).all(0)
    inner = np.flatnonzero(~is_edge)
    if not len(inner) or inner[-1] + 1 - inner[0] < LEAST_LEFT * len(is_edge):
        return slice(None)
    return slice(int(inner[0]), int(inner[-1]) + 1)


def measure_bars(frames: Luma) -> float:
    """Return the share of the area that lies in black bars."""
    return 1.0 - frames[:, *find_bars(frames)].size / frames.size


def measure_sharpness(frame: Luma) -> float | None:
    """Return the variance of the Laplacian over that of the frame; None for a frame without contrast."""
    if frame.std() < LEAST_CONTRAST or min(frame.shape) < 3:
        return None
    middle = frame[1:-1, 1:-1]
    laplacian = frame[:-2, 1:-1] + frame[2:, 1:-1] + frame[1:-1, :-2] + frame[1:-1, 2:] - 4 * middle
    return float(laplacian.var(dtype=np.float64) / middle.var(dtype=np.float64))


def measure_spatial_information(frame: Luma) -> float:
    """Return the standard deviation of the Sobel-filtered frame."""
    across = frame[:, 2:] - frame[:, :-2]
    down = frame[2:] - frame[:-2]
    horizontal = across[:-2] + 2 * across[1:-1] + across[2:]
    vertical = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return float(np.hypot(horizontal, vertical).std(dtype=np.float64)) if horizontal.size else 0.0


def measure_temporal_information(before: Luma, after: Luma) -> float:
    """Return the standard deviation of the difference of two frames."""
    return float((after - before).std(dtype=np.float64))


def measure_combing(frame: Luma) -> float:
    """Return the share of pixels whose lines alternate, beyond the share of those whose columns do."""
    lines = frame.astype(np.int16)
    return max(0, count_combs(lines) - count_combs(lines.T)) / lines.size


def median_of(values: Sequence[float | None]) -> float | None:
    """Return the median of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
