"""Compute the pixel sizes that Ola takes and the tokens that they cost.

In: the size of a picture or frame, or the seconds of a sound. Out: the size to store or feed, and the number of
embeddings for the language model. The packer and the processor use the same functions, so that a stored frame needs no
second resize, and a sample's length is known without loading a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Size = tuple[int, int]
"""(width, height) in pixels."""

# One pooled token covers 2x2 patches of 16 pixels.
CELL = 32
PAD_GREY = 127
SOUND_CHUNK_S = 30
# 1500 encoder frames, ten to a token, and a newline after each chunk.
SOUND_CHUNK_TOKENS = 151


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the pixel sizes of views; the defaults are those of the released weights' training.

    cell: both sides are multiples of `cell`. The others are side lengths of squares whose areas bound a view.
    `Limits(cell=64, video_max=480)` are the video sizes of the original's inference script.
    """

    cell: int = CELL
    image_high: int = 1536
    image_low: int = 384
    video_max: int = 448
    video_min: int = 288


RELEASED = Limits()


@dataclass(frozen=True, slots=True)
class Fit:
    """A target size. how: scaled, or centred on a `PAD_GREY` canvas by `pad_offset`."""

    size: Size
    how: Literal["resize", "pad"]


def image_size(width: int, height: int, limits: Limits = RELEASED) -> Fit:
    """Return the size of an image's high view: padded to multiples of the cell, or scaled down to an area of 1536^2.

    Scaling rounds each side down, so the aspect ratio shifts by up to a cell. Raises ValueError for an empty picture.
    """
    if _area(width, height) > limits.image_high**2:
        return Fit(_scale((width, height), limits.image_high, limits), "resize")
    return Fit((_round_up(width, limits), _round_up(height, limits)), "pad")


def image_low_size(high: Size, limits: Limits = RELEASED) -> Size:
    """Return the size of an image's low view: the high view scaled up or down to an area near 384^2."""
    return _scale(high, limits.image_low, limits)


def video_size(width: int, height: int, limits: Limits = RELEASED) -> Fit:
    """Return the size of a video frame: scaled if its area is outside 288^2..448^2, else padded to whole cells.

    A side that would round down to 0 becomes one cell; the original trainer fails there. The result for small or very
    long frames can have an area below 288^2: reading such a frame would scale it again, unless `video_size` of the
    result is the result itself.
    """
    area = _area(width, height)
    if area > limits.video_max**2:
        return Fit(_scale((width, height), limits.video_max, limits), "resize")
    if area < limits.video_min**2:
        return Fit(_scale((width, height), limits.video_min, limits), "resize")
    return Fit((_round_up(width, limits), _round_up(height, limits)), "pad")


def pad_offset(source: Size, target: Size) -> Size:
    """Return (left, top) of a picture of size `source` centred on a canvas of size `target`."""
    return (target[0] - source[0]) // 2, (target[1] - source[1]) // 2


def frame_indices(frames: int, keep: int) -> list[int]:
    """Return `keep` evenly spaced indices of `frames` frames: linspace(0, frames - 1, keep), truncated.

    If keep > frames, indices repeat, as in the original's inference; pass `min(frames, keep)` to take every frame once,
    as in its training. Raises ValueError unless both are at least 1.
    """
    if frames < 1 or keep < 1:
        raise ValueError(f"frames: expected at least 1 of 1, got {keep} of {frames} frames")
    if keep == 1:
        return [0]
    step = (frames - 1) / (keep - 1)
    return [*(int(n * step) for n in range(keep - 1)), frames - 1]


def image_tokens(high_width: int, high_height: int, low: Size | None = None, cell: int = CELL) -> int:
    """Return the tokens of an image with a high view of this size: begin, low rows, separator, high rows, end.

    low: the size of the low view; None for that of `image_low_size`. cell: pixels per side of one token. Each row of
    the pooled grid ends with a newline token. Raises ValueError unless all sides are multiples of the cell.
    """
    width, height = low or image_low_size((high_width, high_height))
    return 2 + _pooled_rows(width, height, cell) + 1 + _pooled_rows(high_width, high_height, cell)


def video_tokens(width: int, height: int, frames: int, cell: int = CELL) -> int:
    """Return the tokens of `frames` frames of this size: begin, then each frame's rows and a separator, then end.

    Raises ValueError unless both sides are multiples of the cell and there is a frame.
    """
    if frames < 1:
        raise ValueError(f"video: expected at least one frame, got {frames} frames")
    return 2 + frames * (_pooled_rows(width, height, cell) + 1)


def sound_tokens(seconds: float, chunk_s: float = SOUND_CHUNK_S, chunk_tokens: int = SOUND_CHUNK_TOKENS) -> int:
    """Return the tokens of a sound: begin, 151 for each 30 s chunk or part of one, and end.

    There is no upper bound. The original trainer drops all chunks after the 25th (750 s), so callers keep clips
    shorter.
    """
    if not seconds > 0:
        raise ValueError(f"sound: expected more than 0 s, got {seconds} s; leave the sound out")
    return 2 + chunk_tokens * math.ceil(seconds / chunk_s)


def parts_kept(parts: Sequence[int], tokens: Sequence[int], room: int) -> list[int]:
    """Return how many parts (video frames, sound chunks) each medium keeps so that all media fit in `room` tokens.

    tokens: of each whole medium: begin, end, and equal parts. All media keep the same share, the largest that fits,
    rounded down to whole parts but to at least one. If one part each does not fit, the result is one part each.
    """
    keep = list(parts)
    for share in sorted({Fraction(k, whole) for whole in parts for k in range(1, whole + 1)}, reverse=True):
        keep = [max(1, int(whole * share)) for whole in parts]
        thin = [size - (size - 2) // whole * (whole - k) for size, whole, k in zip(tokens, parts, keep, strict=True)]
        if sum(thin) <= room:
            break
    return keep


def _area(width: int, height: int) -> int:
    if width < 1 or height < 1:
        raise ValueError(f"picture: expected sides of at least 1 pixel, got {width}x{height}")
    return width * height


def _round_up(side: int, limits: Limits) -> int:
    return -(-side // limits.cell) * limits.cell


def _scale(size: Size, square: int, limits: Limits) -> Size:
    # Same order of float operations as the original: another order changes sides that fall on multiples of a cell.
    scale, cell = math.sqrt(square * square / _area(*size)), limits.cell
    width, height = (max(cell, int(side * scale / cell) * cell) for side in size)
    return width, height


def _pooled_rows(width: int, height: int, cell: int) -> int:
    if width % cell or height % cell or width < 1 or height < 1:
        raise ValueError(f"picture: expected sides that are multiples of {cell}, got {width}x{height}; fit it first")
    return height // cell * (width // cell + 1)
