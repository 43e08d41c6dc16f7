"""Frames by decord instead of libav (`extract.reader: decord`): the same frames at the same times, and the same sound.

decord counts frames where we count stamps; the two are matched, and a file in which they do not match, or that decord
cannot read (AV1, raw streams, anything it chokes on), is read by libav.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from manifests.records import Video
from pipeline.errors import BadMedia
from pipeline.media.footage import Cut, Shot, clip_ms, index_of, shots_of, sounds, stamps_of, start_of
from pipeline.media.index import PictureIndex
from pipeline.media.picture import Painter
from pipeline.media.safety import open_container

GROUP = 8  # frames decoded at once: 4K ones are 25 MB each
# decord's own libav knows no whitelist: it gets only what begins like a container that names no other file.
HEADS = {b"\x1aE\xdf\xa3": slice(0, 4), b"ftyp": slice(4, 8), b"RIFF": slice(0, 4)}


def shots(path: str, video: Video, cuts: Sequence[Cut], painter: Painter) -> Iterator[Shot]:
    """Frames and sound of every cut of a local file, as `pipeline.media.footage.shots`. Raises BadMedia likewise."""
    index = index_of(path, video.picture, video.sound)
    if not len(index.shown):
        raise BadMedia("no frame in the whole file")
    reader = matching_reader(path, index)
    if reader is None:
        yield from shots_of(path, video, cuts, painter, index)
        return
    with open_container(path) as container:
        start = start_of(container)
    for cut, pcm in zip(cuts, sounds(path, video, cuts, index.sound.packets), strict=True):
        stamps = stamps_of(index, cut, start)
        frames = zip(stamps, pictures(reader, np.searchsorted(index.shown, stamps)), strict=True)
        yield Shot([(clip_ms(stamp, index, cut, start), jpeg_of(picture, video, painter)) for stamp, picture in frames], pcm)
