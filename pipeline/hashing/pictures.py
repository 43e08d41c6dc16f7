"""Hash the frames of a clip: signs of low DCT coefficients of six regions of each frame.

Black bars that all frames of the clip have are cut off first. A region is hashed alone, so that a crop, a logo or a
subtitle bar changes only some of the six hashes. A mirrored frame has the same coefficients with the signs of the odd
horizontal frequencies swapped, so `mirrored` needs no pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SIDE = 8  # coefficients of each axis
BLACK = 24.0  # mean level up to which a row or column may be part of a bar, 0..255
FLAT = 12.0  # standard deviation up to which it may
LEAST_LEFT = 0.3  # of each axis: more is never cut off
DECODED = 128  # pixels: JPEGs are decoded at the smallest scale that has this many on each side
STRONG = 1.0  # grey levels from which a coefficient counts as texture

# (left, top, right, bottom), in shares of the frame
REGIONS = (
    (0.0, 0.0, 1.0, 1.0),
    (0.05, 0.05, 0.95, 0.95),
    (0.1, 0.1, 0.9, 0.9),
    (0.0, 0.0, 1.0, 0.75),
    (0.0, 0.0, 0.67, 1.0),
    (0.33, 0.0, 1.0, 1.0),
)


def decode_grey(jpegs: Sequence[bytes | memoryview]) -> NDArray[np.float64]:
    """Decode JPEGs of one size to grey levels, (frames, height, width), at a reduced scale."""
    from PIL import Image

    frames = []
    for jpeg in jpegs:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft("L", (DECODED, DECODED))
            frames.append(np.asarray(image.convert("L"), dtype=np.float64))
    return np.stack(frames)


def trim_bars(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frames without the black bars at their edges that all of them have."""
    rows, columns = _inner_span(frames, axis=2), _inner_span(frames, axis=1)
    return frames[:, rows, columns]


def _inner_span(frames: NDArray[np.float64], axis: int) -> slice:
    """Return the rows (axis=2) or columns (axis=1) between the bars; all if too little were left."""
    is_bar = (frames.mean(axis) <= BLACK).all(0) & (frames.std(axis) <= FLAT).all(0)
    inner = np.flatnonzero(~is_bar)
    if not len(inner) or inner[-1] + 1 - inner[0] < LEAST_LEFT * len(is_bar):
        return slice(None)
    return slice(int(inner[0]), int(inner[-1]) + 1)


def hash_frames(frames: NDArray[np.float64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Return the hashes of each frame's regions, (frames, regions), and how many strong coefficients each has."""
    _, height, width = frames.shape
    hashes = np.zeros((len(frames), len(REGIONS)), np.uint64)
    strong = np.zeros((len(frames), len(REGIONS)), np.int64)
    for number, (left, top, right, bottom) in enumerate(REGIONS):
        rows, columns = _cut(top, bottom, height), _cut(left, right, width)
        region = frames[:, rows, columns]
        values = _cosines(region.shape[1]) @ region @ _cosines(region.shape[2]).T
        coefficients = values.reshape(len(frames), -1)[:, 1:]
        hashes[:, number] = pack_signs(coefficients)
        strong[:, number] = (np.abs(coefficients) >= STRONG).sum(1)
    return hashes, strong


def _cut(start: float, end: float, size: int) -> slice:
    return slice(round(start * size), max(round(start * size) + 1, round(end * size)))


@lru_cache(maxsize=256)
def _cosines(size: int) -> NDArray[np.float64]:
    """Return the matrix that gives the low DCT coefficients of `size` values, (SIDE, size)."""
    angles = np.pi * np.outer(np.arange(SIDE), np.arange(size) + 0.5) / size
    return np.asarray(np.cos(angles) / size)


def pack_signs(coefficients: NDArray[np.float64]) -> Hashes:
    """Pack the signs of up to 64 values a row into one number each; the first value is the lowest bit."""
    signs = np.round(coefficients, 6) > 0  # rounded: the last digits depend on the machine
    weights = np.uint64(1) << np.arange(signs.shape[1], dtype=np.uint64)
    return np.asarray((signs * weights).sum(1, dtype=np.uint64))


MIRROR = pack_signs(np.tile(np.arange(SIDE) % 2, SIDE)[None, 1:].astype(np.float64))[0]


def mirrored(hashes: Hashes) -> Hashes:
    """Return the hashes of the mirrored frames; left and right regions stay in their places."""
    return np.asarray(hashes ^ MIRROR)
