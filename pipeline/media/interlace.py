"""Detect interlaced video: frames that hold two moments, on odd and even lines.

Frames declare whether they are interlaced. Some files lose the flag, so `ingest` looks at a few frames. Before storing,
a frame that may be interlaced is checked for combs: progressive films are often flagged as interlaced, and
deinterlacing would cost them half of their lines.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Lines = NDArray[np.int16]

# Not checked, since no standard has them interlaced: pictures of more than 1088 lines, of 720, or in these codecs.
MOST_LINES, PROGRESSIVE_LINES = 1088, 720
PROGRESSIVE = frozenset({"hevc", "vp8", "vp9", "av1"})
PLACES = (0.5, 0.25, 0.75)  # shares of the duration at which frames of a file without flags are compared
LOOKED_AT = 6  # frames at a place: film in 60 fields (telecine) has two frames with combs in each five
FITS = 0.75  # own combs / combs woven with the next frame's better field: below, the frame is progressive
UNLIKE = 1.6  # combs woven with the worse field / with the better: above, the frame is two fields
SHARE = 0.25  # of the frames at a place that must have combs

EDGE = 10  # least difference between two lines, of 255: less is noise
COMBED = 1e-4  # share of pixels: 40 of 720x576

# Weston's filter interpolates the missing lines in one field and takes only their fine detail from the other. So it
# needs no neighbouring frames. Its result shows the first field's moment.
DEINTERLACE = ("w3fdif", "mode=frame:parity=auto:deint=all")


def has_combs(frame: Any) -> bool:
    """Return whether the lines of an `av.VideoFrame` alternate, as after a motion between its two fields."""
    lines = _read_lines(frame)
    return count_combs(lines) > COMBED * lines.size


def _read_lines(frame: Any) -> Lines:
    """Return the luma of a frame, every other column."""
    lines: Lines = frame.reformat(format="gray").to_ndarray()[:, ::2].astype(np.int16)
    return lines


def count_combs(lines: Lines) -> int:
    """Count the pixels in combs, that is in bright and dark rows in turn; a single bright row is a thin line."""
    step = np.diff(lines, axis=0)
    above, below = step[:-1], -step[1:]
    bright, dark = (above > EDGE) & (below > EDGE), (above < -EDGE) & (below < -EDGE)
    return int(((bright[:-1] & dark[1:]) | (dark[:-1] & bright[1:])).sum())


def is_interlaced(container: Any, stream: Any, first: Any) -> bool:
    """Return whether a video is interlaced, by the flag of its first frame or by frames at a few places.

    Leaves the container at another place.
    """
    if first.interlaced_frame:
        return True
    if first.height > MOST_LINES or first.height == PROGRESSIVE_LINES or stream.codec_context.name in PROGRESSIVE:
        return False
    for place in PLACES:
        frames = _frames_at(container, stream, place)
        results = [_are_fields(*each) for each in pairwise(map(_read_lines, frames))]
        many = sum(result is True for result in results)
        if any(frame.interlaced_frame for frame in frames) or many > SHARE * max(1, len(results)):
            return True
        if False in results:  # moving, progressive frames
            return False
    return False


def _are_fields(lines: Lines, after: Lines) -> bool | None:
    """Return whether a frame is two fields, by comparison with the next frame; None where nothing moves.

    A field of an interlaced frame fits one field of the next frame as well as its own partner, and the other field far
    worse. Fine textures have combs, too, but a progressive frame woven with another one has more of them, in either
    order.
    """
    own, least = count_combs(lines), COMBED * lines.size
    better, worse = sorted(count_combs(_weave(lines, after, first)) for first in (0, 1))
    if own < FITS * better and better > least:
        return False
    return True if own > least and worse > UNLIKE * better else None


def _weave(lines: Lines, after: Lines, first: int) -> Lines:
    """Return a frame whose every other line, from `first` on, is the next frame's."""
    woven = lines.copy()
    woven[first::2] = after[first::2]
    return woven


def _frames_at(container: Any, stream: Any, place: float) -> list[Any]:
    """Decode a few neighbouring frames; none where the file cannot be searched or is damaged there."""
    import av.error

    try:
        start = container.start_time or 0
        container.seek(start + int((container.duration or 0) * place))
        return list(islice(container.decode(stream), LOOKED_AT))
    except av.error.FFmpegError:
        return []
