"""Interlaced pictures: two moments in one frame, on odd and even lines.

Frames say whether they are interlaced; some files keep the lines but lose the flag, so `ingest` looks at a few frames.
A frame that may be interlaced is checked for combs before it is stored, since films are often flagged as interlaced,
too, and half of their lines would be lost for nothing.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Lines = NDArray[np.int16]

# No standard has interlaced pictures of more lines than these, of 720, or in these codecs: they are not looked at.
MOST_LINES, PROGRESSIVE_LINES = 1088, 720
PROGRESSIVE = frozenset({"hevc", "vp8", "vp9", "av1"})
PLACES = (0.5, 0.25, 0.75)  # where to look in a file without flags, as shares of it
LOOKED_AT = 6  # frames at a place: film brought to 60 fields has two frames with combs in each five
FITS = 0.75  # combs of a frame, against those of it woven with the next one's better field: fewer are of a whole frame
UNLIKE = 1.6  # combs with the next frame's worse field, against those with the better: more are of fields in turn
SHARE = 0.25  # of the frames at a place that must have combs

EDGE = 10  # levels between two lines, of 255: less is noise
COMBED = 1e-4  # share of pixels: 40 of 720x576

# Weston's filter takes the missing lines from one field and only their fine detail from the other, so that a frame
# alone suffices: the ones before and after it are not decoded. It gives the first field's moment.
DEINTERLACE = ("w3fdif", "mode=frame:parity=auto:deint=all")


def combed(frame: Any) -> bool:
    """Whether lines of an `av.VideoFrame` alternate as they do where something moved between its two fields."""
    lines = _lines(frame)
    return _combs(lines) > COMBED * lines.size


def _lines(frame: Any) -> Lines:
    """Brightness of a frame, every other column."""
    lines: Lines = frame.reformat(format="gray").to_ndarray()[:, ::2].astype(np.int16)
    return lines


def _combs(lines: Lines) -> int:
    """How many pixels have combs: a thin line is one bright row; combs are bright and dark rows in turn."""
    step = np.diff(lines, axis=0)
    above, below = step[:-1], -step[1:]
    bright, dark = (above > EDGE) & (below > EDGE), (above < -EDGE) & (below < -EDGE)
    return int(((bright[:-1] & dark[1:]) | (dark[:-1] & bright[1:])).sum())


def interlaced(container: Any, stream: Any, first: Any) -> bool:
    """Whether a video is interlaced: its first frame says so, or frames at a few places look like it.

    Leaves the container at another place.
    """
    if first.interlaced_frame:
        return True
    if first.height > MOST_LINES or first.height == PROGRESSIVE_LINES or stream.codec_context.name in PROGRESSIVE:
        return False
    for place in PLACES:
        frames = _frames_at(container, stream, place)
        verdicts = [_are_fields(*each) for each in pairwise(map(_lines, frames))]
        many = sum(verdict is True for verdict in verdicts)
        if any(frame.interlaced_frame for frame in frames) or many > SHARE * max(1, len(verdicts)):
            return True
        if False in verdicts:  # something moves there, and its frames are whole
            return False
    return False


def _are_fields(lines: Lines, after: Lines) -> bool | None:
    """Whether a frame is two fields, by the one after it; None where that cannot be told, as where nothing moves.

    A field of an interlaced frame fits one of the next frame as well as its own partner, and the other one far worse.
    Fine textures have combs, too, but a whole frame has more of them when it is woven with another, whichever way.
    """
    own, least = _combs(lines), COMBED * lines.size
    better, worse = sorted(_combs(_woven(lines, after, first)) for first in (0, 1))
    if own < FITS * better and better > least:
        return False
    return True if own > least and worse > UNLIKE * better else None


def _woven(lines: Lines, after: Lines, first: int) -> Lines:
    """A frame whose every other line, from `first` on, is the next frame's."""
    woven = lines.copy()
    woven[first::2] = after[first::2]
    return woven


def _frames_at(container: Any, stream: Any, place: float) -> list[Any]:
    """A few neighbouring frames; none where the file cannot be searched or is damaged there."""
    import av.error

    try:
        start = container.start_time or 0
        container.seek(start + int((container.duration or 0) * place))
        return list(islice(container.decode(stream), LOOKED_AT))
    except av.error.FFmpegError:
        return []
