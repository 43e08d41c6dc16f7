"""Frames by decord instead of libav (`extract.reader: decord`): the same frames at the same times, and the same sound.

decord counts frames where we count stamps, so the two are matched first. It is asked only for what it was seen to get
right: decord 0.6 gives other frames than those asked for, without a word, in avi, mpeg and mpeg-ts, where an edit list
cuts frames off, and at the end of files with open groups of pictures; it lacks AV1. All that, and what it chokes on,
libav reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.records import Video
from pipeline.errors import BadMedia
from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.byte_range import Local
from pipeline.media.demux import start_of
from pipeline.media.extraction import clip_ms, index_of, shots_of, sounds, stamps_of
from pipeline.media.packet_index import PictureIndex
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import open_container

GROUP = 8  # frames decoded at once: 8K ones are 100 MB each
MATROSKA = b"\x1aE\xdf\xa3"


def shots(path: Local, video: Video, cuts: Sequence[ClipRequest], painter: FrameRenderer) -> Iterator[ExtractedClip]:
    """Frames and sound of every cut of a local file, as `pipeline.media.extraction.shots`. Raises BadMedia likewise."""
    from decord._ffi.base import DECORDError

    index = index_of(path, video.picture, video.sound)
    if not len(index.shown):
        raise BadMedia("no frame in the whole file")
    reader = open_reader(path, video, index)
    if reader is None:
        yield from shots_of(path, video, cuts, painter, index)
        return
    with open_container(path) as container:
        start = start_of(container)
        delayed = container.streams[video.picture].codec_context.has_b_frames
    upright = FrameRenderer(video.width, video.height, 0, painter.quality)  # decord has turned the frames already
    for n, (cut, shot) in enumerate(zip(cuts, sounds(path, video, cuts, index.sound.packets), strict=True)):
        stamps = stamps_of(index, cut, start)
        numbers = np.searchsorted(index.shown, stamps)
        try:
            if numbers[-1] >= len(index.shown) - delayed:
                raise DECORDError("the last frames, which come out late, can be wrong after a seek")
            jpegs = [upright.jpeg(frame) for frame in frames(reader, numbers)]
        except DECORDError:
            yield from shots_of(path, video, cuts[n:], painter, index)
            return
        shot.frames = [(clip_ms(s, index, cut, start), jpeg) for s, jpeg in zip(stamps, jpegs, strict=True)]
        yield shot


def open_reader(path: Local, video: Video, index: PictureIndex) -> Any:
    """A `decord.VideoReader` whose n-th frame is the n-th that is shown, or None."""
    if not index.exact or index.hidden.any() or index.open_groups or not _may_read(path, video):
        return None
    import decord
    from decord._ffi.base import DECORDError

    try:
        reader = decord.VideoReader(str(path), num_threads=1)  # one worker a core, as everywhere
        if len(reader) != len(index.shown):
            return None
        times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    except DECORDError:
        return None
    shown = (index.shown - index.shown[0]) * index.tick
    return reader if np.allclose(times - times[0], shown, atol=0.002) else None  # it counts in float32


def _may_read(path: Local, video: Video) -> bool:
    """mp4 and Matroska, by what they begin with: decord's own libav opens whatever a playlist names.

    It turns the frames of an mp4, but not those of a Matroska; it mirrors, deinterlaces and maps none, and picks a
    picture stream by its own rule.
    """
    if not isinstance(path, str) or video.mirrored or video.interlaced or video.mapped or _pictures(path) > 1:
        return False
    with open(path, "rb") as file:
        head = file.read(8)
    return head[4:] == b"ftyp" or (head[:4] == MATROSKA and video.rotation == 0)


def _pictures(path: str) -> int:
    with open_container(path) as container:
        return len(container.streams.video)


def frames(reader: Any, numbers: NDArray[np.int64]) -> Iterator[Any]:
    """Frames by number, as `av.VideoFrame`. Raises DECORDError."""
    import av

    for first in range(0, len(numbers), GROUP):
        batch = reader.get_batch([int(number) for number in numbers[first : first + GROUP]]).asnumpy()
        yield from (av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in batch)
