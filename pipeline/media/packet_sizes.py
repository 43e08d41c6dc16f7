"""Read the sizes of a video's packets without decoding: they tell when its picture changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.media.byte_range import Local
from pipeline.media.demux import demux_packets, start_of
from pipeline.media.safety import open_container


@dataclass(frozen=True)
class PacketSizes:
    """The packets of a picture in decoding order: when each is shown, in seconds, its bytes, whether it is a key."""

    times: NDArray[np.float64]
    sizes: NDArray[np.float64]
    keys: NDArray[np.bool_]


def read_packet_sizes(path: Local, picture: int, start: float = 0.0) -> PacketSizes:
    """Read the packets of stream `picture`. start: of the recording on the clock of its video, in seconds.

    Packets without a time are left out. Raises the errors of libav.
    """
    rows = []
    with open_container(path) as container:
        stream = container.streams[picture]
        first, tick = start_of(container), float(stream.time_base or 1)
        for packet in demux_packets(container, stream):
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and stamp is not None and not packet.is_discard:
                rows.append((start - first + stamp * tick, packet.size, packet.is_keyframe))
    times, sizes, keys = (np.array([row[n] for row in rows]) for n in range(3))
    return PacketSizes(times.astype(np.float64), sizes.astype(np.float64), keys.astype(np.bool_))
