"""The pixel sizes Ola sees and the tokens they cost.

In: the size of a picture or frame, or the seconds of a sound. Out: the size to store or feed, and the
number of embeddings the language model receives. The packer and the processor must agree on both to the
pixel, so that a stored frame needs no second resize and a sample's length is known before any model is
loaded.
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
    """What bounds a view, in pixels: the defaults are those that the released weights were trained with.

    cell: both sides are multiples of it. The others are sides of squares whose areas bound a view.
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
    """A fitted picture: its size, and how it gets there: scaled, or centred on `PAD_GREY` by `pad_offset`."""

    size: Size
    how: Literal["resize", "pad"]


def image_size(width: int, height: int, limits: Limits = RELEASED) -> Fit:
    """The high view of an image: padded to multiples of the cell, or scaled down where its area exceeds 1536^2.

    Scaling floors each side, so the aspect ratio shifts by up to a cell a side. ValueError for an empty picture.
    """
    if _area(width, height) > limits.image_high**2:
        return Fit(_scaled((width, height), limits.image_high, limits), "resize")
    return Fit((_ceil(width, limits), _ceil(height, limits)), "pad")


def image_low_size(high: Size, limits: Limits = RELEASED) -> Size:
    """The low view of an image, scaled (up or down) to an area near 384^2 from its high view."""
    return _scaled(high, limits.image_low, limits)


def video_size(width: int, height: int, limits: Limits = RELEASED) -> Fit:
    """The size of a video frame: scaled if its area is outside 288^2..448^2, else padded to multiples of the cell.

    A side that floors to nothing becomes one cell, where the original trainer fails. Of small or very long frames
    the result can lie below 288^2 and be scaled again when it is read: see whether `video_size` of it is
    the same.
    """
    area = _area(width, height)
    if area > limits.video_max**2:
        return Fit(_scaled((width, height), limits.video_max, limits), "resize")
    if area < limits.video_min**2:
        return Fit(_scaled((width, height), limits.video_min, limits), "resize")
    return Fit((_ceil(width, limits), _ceil(height, limits)), "pad")


def pad_offset(source: Size, target: Size) -> Size:
    """(left, top) of a picture of size `source` centred on a canvas of size `target`."""
    return (target[0] - source[0]) // 2, (target[1] - source[1]) // 2


def frame_indices(frames: int, keep: int) -> list[int]:
    """`keep` indices spread evenly over `frames`, first and last included: linspace(0, frames - 1, keep) truncated.

    Indices come more than once where keep > frames, as in the original's inference; `min(frames, keep)` takes every
    frame once, as in its training. ValueError unless both are at least 1.
    """
    if frames < 1 or keep < 1:
        raise ValueError(f"cannot take {keep} of {frames} frames; both must be at least 1")
    if keep == 1:
        return [0]
    step = (frames - 1) / (keep - 1)
    return [*(int(n * step) for n in range(keep - 1)), frames - 1]


def image_tokens(high_width: int, high_height: int, low: Size | None = None, cell: int = CELL) -> int:
    """Embeddings of one image whose high view has this size: begin, low rows, separator, high rows, end.

    low: the size of its low view; None: as `image_low_size` has it. cell: the pixels a side of one token. Each row
    of the pooled grid ends in a newline token. ValueError unless all sides are multiples of the cell.
    """
    width, height = low or image_low_size((high_width, high_height))
    return 2 + _rows(width, height, cell) + 1 + _rows(high_width, high_height, cell)


def video_tokens(width: int, height: int, frames: int, cell: int = CELL) -> int:
    """Embeddings of `frames` frames of this size: begin, then each frame's rows and a separator, then end.

    ValueError unless both sides are multiples of the cell and there is a frame.
    """
    if frames < 1:
        raise ValueError(f"a video of {frames} frames has no tokens; give at least one frame")
    return 2 + frames * (_rows(width, height, cell) + 1)


def sound_tokens(seconds: float, chunk_s: float = SOUND_CHUNK_S, chunk_tokens: int = SOUND_CHUNK_TOKENS) -> int:
    """Embeddings of a sound: begin and end, and 151 for each started 30 s chunk.

    Not capped: the original trainer drops what lies beyond 25 chunks (750 s), so its callers keep clips
    below that.
    """
    if not seconds > 0:
        raise ValueError(f"a sound of {seconds} s has no tokens; leave the sound out of the sample instead")
    return 2 + chunk_tokens * math.ceil(seconds / chunk_s)


def parts_kept(parts: Sequence[int], tokens: Sequence[int], room: int) -> list[int]:
    """How many parts (frames of a video, chunks of a sound) each medium keeps, so that all fit in `room` tokens.

    tokens: what each medium takes whole: begin, end, and equal parts. The rule: the largest share that fits is kept
    of each medium, rounded down to whole parts but never to none; so what has one part is kept whole. What cannot
    fit at all comes out with one part each.
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
        raise ValueError(f"a picture of {width}x{height} pixels is empty; both sides must be at least 1")
    return width * height


def _ceil(side: int, limits: Limits) -> int:
    return -(-side // limits.cell) * limits.cell


def _scaled(size: Size, square: int, limits: Limits) -> Size:
    # The order of these float operations is the original's; another moves sides that land on multiples of a cell.
    scale, cell = math.sqrt(square * square / _area(*size)), limits.cell
    width, height = (max(cell, int(side * scale / cell) * cell) for side in size)
    return width, height


def _rows(width: int, height: int, cell: int) -> int:
    if width % cell or height % cell or width < 1 or height < 1:
        raise ValueError(f"{width}x{height} is no size Ola takes: both sides must be multiples of {cell}; fit it first")
    return height // cell * (width // cell + 1)
