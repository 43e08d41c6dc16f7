"""Packets and frames of an open container, as far as damage lets them be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from pipeline.media.libav_errors import is_damage


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """Packets of streams in the order of the file, then an empty one for each.

    Damage can make libav find further streams on the way, for which PyAV's loop looks in vain once all is read.
    """
    with suppress(IndexError):
        yield from container.demux(streams)


def start_of(container: Any) -> float:
    """The container's start time in seconds: zero of the video's clock."""
    return (container.start_time or 0) / 1e6


def decode(found: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Frames of the packets `found`, in the order they are shown; a damaged packet costs no more than itself."""
    import av.error

    for packet in found:
        try:
            yield from stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError as error:
            if not is_damage(error):
                raise


def stamp_of(frame: Any) -> int | None:
    """When a frame is shown, in ticks of its stream."""
    return int(frame.pts) if frame.pts is not None else frame.dts
