"""The packets of a video's picture, read without decoding: what headers say is often wrong or missing.

An index knows when every frame is shown and which frames can be decoded without others. From it follow the exact
frames for given times, and the least that must be decoded to get them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PictureIndex:
    """Packets in the order they are decoded.

    stamps: when each frame is shown, in ticks of `tick` seconds; keys: whether decoding can begin there;
    end: when the last frame ends, in ticks; exact: whether the file itself gave the stamps.
    """

    stamps: np.ndarray[Any, np.dtype[np.int64]]
    keys: np.ndarray[Any, np.dtype[np.bool_]]
    tick: float
    end: int
    exact: bool

    @property
    def shown(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Stamps in the order they are shown."""
        return np.unique(self.stamps)

    def choose(self, times: Sequence[float], start: float, end: float) -> list[int]:
        """Stamps of the frames that a viewer sees at `times` (seconds), each once, in order.

        A frame from before `start` is taken only if no frame begins between `start` and `end`: else the first frame
        of a clip could show the scene before it.
        """
        shown = self.shown
        first, last = np.searchsorted(shown, (round(start / self.tick), round(end / self.tick)))
        chosen = set()
        for time in times:
            at = bisect_right(shown, round(time / self.tick)) - 1
            chosen.add(int(shown[max(at, min(int(first), int(last) - 1), 0)]))
        return sorted(chosen)

    def needed(self, wanted: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which packets must be decoded to see the wanted stamps: from the key frame before each up to itself."""
        need = np.zeros(len(self.stamps), dtype=bool)
        if not self.exact or not self.keys.any():
            return ~need
        starts = np.flatnonzero(self.keys)
        key_stamps = np.minimum.accumulate(self.stamps[starts][::-1])[::-1]
        place = {int(stamp): n for n, stamp in enumerate(self.stamps)}
        for stamp in wanted:
            # leading pictures of an open group are shown before its key frame: they belong to the group before
            group = max(0, bisect_right(key_stamps, stamp) - 1)
            need[starts[group] if group or starts[0] == 0 else 0 : place[stamp] + 1] = True
        return need


def read_index(container: Any, stream: Any) -> PictureIndex:
    """Read all packets of `stream`; where they do not say when they are shown, decode them to find out."""
    stamps, keys, end, exact = [], [], 0, True
    for packet in container.demux(stream):
        if not packet.size:
            continue
        exact &= packet.pts is not None
        stamp = packet.pts if packet.pts is not None else packet.dts or 0
        stamps.append(stamp)
        keys.append(packet.is_keyframe)
        end = max(end, stamp + (packet.duration or 0))
    exact &= len(set(stamps)) == len(stamps)
    return PictureIndex(
        np.array(stamps, dtype=np.int64), np.array(keys, dtype=bool), float(stream.time_base or 1), end, exact
    )


def decoded_index(frames: Sequence[tuple[int, int]], tick: float) -> PictureIndex:
    """An index made of decoded frames, as (stamp, duration): for files whose packets do not tell (avi, raw streams)."""
    stamps = np.array([stamp for stamp, _ in frames], dtype=np.int64)
    end = max((stamp + length for stamp, length in frames), default=0)
    return PictureIndex(stamps, np.ones(len(stamps), dtype=bool), tick, end, False)
