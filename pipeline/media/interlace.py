"""Interlaced pictures: two moments in one frame, on odd and even lines.

Frames say whether they are interlaced; some files keep the lines but lose the flag, so `ingest` looks at a few frames.
A frame that may be interlaced is checked for combs before it is stored, since films are often flagged as interlaced,
too, and half of their lines would be lost for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

# No standard has interlaced pictures of more lines than these, of 720, or in these codecs: they are not looked at.
MOST_LINES, PROGRESSIVE_LINES = 1088, 720
PROGRESSIVE = frozenset({"hevc", "vp8", "vp9", "av1"})
PLACES = (0.5, 0.25, 0.75)  # where to look in a file without flags, as shares of it
LOOKED_AT = 6  # frames at a place: film brought to 60 fields has two frames with combs in each five
SHARE = 0.25  # of the frames at a place that must have combs

EDGE = 10  # levels between two lines, of 255: less is noise
COMBED = 1e-4  # share of pixels: 40 of 720x576

# Weston's filter takes the missing lines from one field and only their fine detail from the other, so that a frame
# alone suffices: the ones before and after it are not decoded. It gives the first field's moment.
DEINTERLACE = ("w3fdif", "mode=frame:parity=auto:deint=all")


def combed(frame: Any) -> bool:
    """Whether lines of an `av.VideoFrame` alternate as they do where something moved between its two fields."""
    lines: NDArray[np.int16] = frame.reformat(format="gray").to_ndarray()[:, ::2].astype(np.int16)
    step = np.diff(lines, axis=0)
    above, below = step[:-1], -step[1:]
    bright, dark = (above > EDGE) & (below > EDGE), (above < -EDGE) & (below < -EDGE)
    # a thin line is one bright row; combs are bright and dark rows in turn
    turns = (bright[:-1] & dark[1:]) | (dark[:-1] & bright[1:])
    return bool(turns.sum() > COMBED * lines.size)


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
        verdicts = list(_verdicts(frames))
        combs = sum(verdict in ("tff", "bff") for verdict in verdicts)
        if any(frame.interlaced_frame for frame in frames) or combs > SHARE * max(1, len(verdicts)):
            return True
        if "progressive" in verdicts:  # something moves there, without combs
            return False
    return False


def _frames_at(container: Any, stream: Any, place: float) -> list[Any]:
    """A few neighbouring frames; none where the file cannot be searched or is damaged there."""
    import av.error

    try:
        start = container.start_time or 0
        container.seek(start + int((container.duration or 0) * place))
        return list(islice(container.decode(stream), LOOKED_AT))
    except av.error.FFmpegError:
        return []


def _verdicts(frames: list[Any]) -> Iterator[str]:
    """What ffmpeg's `idet` says of neighbouring frames: `tff`, `bff`, `progressive` or `undetermined`."""
    import av.error
    import av.filter

    if len(frames) < LOOKED_AT:
        return
    graph = av.filter.Graph()
    first = frames[0]
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 1000))
    detector, sink = graph.add("idet"), graph.add("buffersink")
    source.link_to(detector)
    detector.link_to(sink)
    graph.configure()
    try:
        for number, frame in enumerate(frames):
            frame.pts = number
            graph.push(frame)
            yield from (graph.pull().metadata["lavfi.idet.single.current_frame"] for _ in range(number > 0))
    except (av.error.FFmpegError, KeyError):
        return
