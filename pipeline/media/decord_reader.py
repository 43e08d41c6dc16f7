"""Extract frames with decord instead of libav (`extract.reader: decord`): the same frames, times and sound.

decord counts frames and this project counts timestamps, so the two are matched first. decord is used only for files in
which its frames were seen to be right. decord 0.6 silently returns wrong frames in avi, mpeg and mpeg-ts, where an edit
list cuts frames off, and at the end of files with open groups of pictures; it lacks AV1. libav reads all these, and
files that decord fails on.
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
from pipeline.media.extraction import build_index, choose_stamps, clip_ms, extract_audio, extract_with_index
from pipeline.media.packet_index import PictureIndex
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import open_container

GROUP = 8  # frames decoded at once: 8K ones are 100 MB each
MATROSKA = b"\x1aE\xdf\xa3"


def extract_clips(
    path: Local, video: Video, requests: Sequence[ClipRequest], renderer: FrameRenderer
) -> Iterator[ExtractedClip]:
    """Yield frames and sound of each request. Raises BadMedia; see `pipeline.media.extraction.extract_clips`."""
    from decord._ffi.base import DECORDError

    index = build_index(path, video.picture, video.sound)
    if not len(index.shown):
        raise BadMedia("no frame in the whole file")
    reader = open_reader(path, video, index)
    if reader is None:
        yield from extract_with_index(path, video, requests, renderer, index)
        return
    with open_container(path) as container:
        start = start_of(container)
        delayed = container.streams[video.picture].codec_context.has_b_frames
    upright = FrameRenderer(video.width, video.height, 0, renderer.quality)  # decord rotates frames itself
    for n, (request, clip) in enumerate(
        zip(requests, extract_audio(path, video, requests, index.sound.packets), strict=True)
    ):
        stamps = choose_stamps(index, request, start)
        numbers = np.searchsorted(index.shown, stamps)
        try:
            if numbers[-1] >= len(index.shown) - delayed:
                raise DECORDError("the last frames, which come out late, can be wrong after a seek")
            jpegs = [upright.jpeg(frame) for frame in decode_frames(reader, numbers)]
        except DECORDError:
            yield from extract_with_index(path, video, requests[n:], renderer, index)
            return
        clip.frames = [(clip_ms(stamp, index, request, start), jpeg) for stamp, jpeg in zip(stamps, jpegs, strict=True)]
        yield clip


def open_reader(path: Local, video: Video, index: PictureIndex) -> Any:
    """Return a `decord.VideoReader` whose n-th frame is the n-th that is shown, or None."""
    if not index.exact or index.hidden.any() or index.open_groups or not _is_supported(path, video):
        return None
    import decord
    from decord._ffi.base import DECORDError

    try:
        reader = decord.VideoReader(str(path), num_threads=1)  # each core has a worker
        if len(reader) != len(index.shown):
            return None
        times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    except DECORDError:
        return None
    shown = (index.shown - index.shown[0]) * index.tick
    return reader if np.allclose(times - times[0], shown, atol=0.002) else None  # decord counts in float32


def _is_supported(path: Local, video: Video) -> bool:
    """Return whether the file begins as mp4 or Matroska, and decord handles its picture as this project does.

    The signature is checked because decord's own libav opens whatever a playlist names. decord rotates the frames of an
    mp4, but not of a Matroska file. It does not mirror, deinterlace or map colours, and chooses a picture stream by its
    own rule.
    """
    if not isinstance(path, str) or video.mirrored or video.interlaced or video.mapped or _count_pictures(path) > 1:
        return False
    with open(path, "rb") as file:
        head = file.read(8)
    return head[4:] == b"ftyp" or (head[:4] == MATROSKA and video.rotation == 0)


def _count_pictures(path: str) -> int:
    with open_container(path) as container:
        return len(container.streams.video)


def decode_frames(reader: Any, numbers: NDArray[np.int64]) -> Iterator[Any]:
    """Yield frames by number, as `av.VideoFrame`. Raises DECORDError."""
    import av

    for first in range(0, len(numbers), GROUP):
        batch = reader.get_batch([int(number) for number in numbers[first : first + GROUP]]).asnumpy()
        yield from (av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in batch)
