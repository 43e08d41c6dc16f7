"""Read packets and frames of an open container, past damage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from pipeline.media.libav_errors import is_damage


def demux_packets(container: Any, *streams: Any) -> Iterator[Any]:
    """Yield packets of streams in the order of the file, then an empty packet for each stream.

    Damage can make libav find further streams on the way; PyAV's loop then raises IndexError at the end.
    """
    with suppress(IndexError):
        yield from container.demux(streams)


def start_of(container: Any) -> float:
    """Return the container's start time in seconds: time zero of the video's clock."""
    return (container.start_time or 0) / 1e6


def decode_packets(packets: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Yield the frames of packets in the order they are shown; a damaged packet is skipped."""
    import av.error

    for packet in packets:
        try:
            yield from stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError as error:
            if not is_damage(error):
                raise


def stamp_of(frame: Any) -> int | None:
    """Return the display time of a frame, in ticks of its stream."""
    return int(frame.pts) if frame.pts is not None else frame.dts
