"""The pixel sizes Ola sees and the tokens they cost.

In: the size of a picture or frame, or the seconds of a sound. Out: the size to store or feed, and the
number of embeddings the language model receives. The packer and the processor must agree on both to the
pixel, so that a stored frame needs no second resize and a sample's length is known before any model is
loaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Size = tuple[int, int]
"""(width, height) in pixels."""

# One pooled token covers 2x2 patches of 16 pixels.
CELL = 32
# Sides of the squares whose areas bound a view (training limits of the original Ola).
IMAGE_HIGH_SIDE = 1536
IMAGE_LOW_SIDE = 384
VIDEO_MAX_SIDE = 448
VIDEO_MIN_SIDE = 288
PAD_GREY = 127
SOUND_CHUNK_S = 30
# 1500 encoder frames, ten to a token, and a newline after each chunk.
SOUND_CHUNK_TOKENS = 151


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted picture: its size, and how it gets there: scaled, or centred on `PAD_GREY` by `pad_offset`."""

    size: Size
    how: Literal["resize", "pad"]


def image_size(width: int, height: int) -> Fit:
    """The high view of an image: padded to multiples of 32, or scaled down where its area exceeds 1536^2.

    Scaling floors each side, so the aspect ratio shifts by up to 31 pixels a side. ValueError for an empty
    picture.
    """
    area = _area(width, height)
    if area > IMAGE_HIGH_SIDE**2:
        return Fit(_scaled(width, height, IMAGE_HIGH_SIDE), "resize")
    return Fit((_ceil(width), _ceil(height)), "pad")


def image_low_size(high: Size) -> Size:
    """The low view of an image, scaled (up or down) to an area near 384^2 from its high view."""
    return _scaled(*high, IMAGE_LOW_SIDE)


def video_size(width: int, height: int) -> Fit:
    """The size of a video frame: scaled if its area is outside 288^2..448^2, else padded to multiples of 32.

    A side that floors to nothing becomes 32, where the original trainer fails. Of small or very long frames
    the result can lie below 288^2 and be scaled again when it is read: see whether `video_size` of it is
    the same.
    """
    area = _area(width, height)
    if area > VIDEO_MAX_SIDE**2:
        return Fit(_scaled(width, height, VIDEO_MAX_SIDE), "resize")
    if area < VIDEO_MIN_SIDE**2:
        return Fit(_scaled(width, height, VIDEO_MIN_SIDE), "resize")
    return Fit((_ceil(width), _ceil(height)), "pad")


def pad_offset(source: Size, target: Size) -> Size:
    """(left, top) of a picture of size `source` centred on a canvas of size `target`."""
    return (target[0] - source[0]) // 2, (target[1] - source[1]) // 2


def image_tokens(high_width: int, high_height: int) -> int:
    """Embeddings of one image whose high view has this size: begin, low rows, separator, high rows, end.

    Each row of the pooled grid ends in a newline token. ValueError unless both sides are multiples of 32.
    """
    low = image_low_size((high_width, high_height))
    return 2 + _rows(*low) + 1 + _rows(high_width, high_height)


def video_tokens(width: int, height: int, frames: int) -> int:
    """Embeddings of `frames` frames of this size: begin, then each frame's rows and a separator, then end.

    ValueError unless both sides are multiples of 32 and there is a frame.
    """
    if frames < 1:
        raise ValueError(f"a video of {frames} frames has no tokens; give at least one frame")
    return 2 + frames * (_rows(width, height) + 1)


def sound_tokens(seconds: float) -> int:
    """Embeddings of a sound: begin and end, and 151 for each started 30 s chunk.

    Not capped: the original trainer drops what lies beyond 25 chunks (750 s), so its callers keep clips
    below that.
    """
    if not seconds > 0:
        raise ValueError(f"a sound of {seconds} s has no tokens; leave the sound out of the sample instead")
    return 2 + SOUND_CHUNK_TOKENS * math.ceil(seconds / SOUND_CHUNK_S)


def _area(width: int, height: int) -> int:
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width}x{height} pixels is empty; both sides must be at least 1")
    return width * height


def _ceil(side: int) -> int:
    return -(-side // CELL) * CELL


def _scaled(width: int, height: int, side: int) -> Size:
    # The order of these float operations is the original's; another moves sides that land on multiples of 32.
    scale = math.sqrt(side * side / _area(width, height))
    return max(CELL, int(width * scale / CELL) * CELL), max(CELL, int(height * scale / CELL) * CELL)


def _rows(width: int, height: int) -> int:
    if width % CELL or height % CELL or width < 1 or height < 1:
        raise ValueError(f"{width}x{height} is no size Ola takes: both sides must be multiples of {CELL}; fit it first")
    return height // CELL * (width // CELL + 1)
