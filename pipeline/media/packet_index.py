"""Index the packets of a video's picture without decoding, since headers are often wrong or missing.

An index holds when each frame is shown and which frames can be decoded without others. It gives the exact frames for
given times, and the fewest packets that must be decoded for them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.media.demux import demux_packets
from pipeline.media.timestamps import Track

ROUNDING = 0.01  # of a tick: arithmetic may put a frame's time slightly before the frame


@dataclass(frozen=True)
class SoundPackets:
    """Number of the audio packets, and when the last of them ends, in seconds."""

    packets: int = 0
    end: float = 0.0


@dataclass(frozen=True)
class PictureIndex:
    """Packets in decoding order, or, where `exact` is false, frames in display order.

    stamps: when each frame is shown, in ticks of `tick` seconds; keys: whether decoding can begin there; hidden:
    whether an edit list cuts the frame off; end: when the last frame ends, in ticks; exact: whether the packets gave
    the stamps; track, sound_track: the packets of picture and sound in file order.
    """

    stamps: NDArray[np.int64]
    keys: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    tick: float
    end: int
    exact: bool
    sound: SoundPackets = SoundPackets()
    track: Track = field(default_factory=Track)
    sound_track: Track = field(default_factory=Track)

    @cached_property  # used by every clip; eight hours have a million stamps to sort
    def shown(self) -> NDArray[np.int64]:
        """Return the stamps of the visible frames in display order."""
        return np.unique(self.stamps[~self.hidden])

    @property
    def open_groups(self) -> bool:
        """Return whether a frame is displayed before the key frame that precedes it in decoding order."""
        latest_key = np.maximum.accumulate(np.where(self.keys, self.stamps, np.iinfo(np.int64).min))
        return bool((self.stamps < latest_key).any())

    def choose_stamps(self, times: Sequence[float], start: float, end: float) -> list[int]:
        """Return the stamps of the frames that a viewer sees at `times` (seconds), each once, in order.

        A frame from before `start` is taken only if no frame begins between `start` and `end`: else the first frame of
        a clip could show the scene before.
        """
        shown = self.shown
        bounds = [ceil(time / self.tick - ROUNDING) for time in (start, end)]
        first, last = (int(place) for place in np.searchsorted(shown, bounds))
        chosen = set()
        for time in times:
            at = bisect_right(shown, floor(time / self.tick + ROUNDING)) - 1
            chosen.add(int(shown[max(at, min(first, last - 1), 0)]))
        return sorted(chosen)

    def needed_packets(self, wanted: Sequence[int]) -> NDArray[np.bool_]:
        """Mark the packets to decode for the wanted stamps: from the key frame before each up to its own packet."""
        need = np.zeros(len(self.stamps), dtype=bool)
        if not self.exact or not self.keys.any():
            return ~need
        starts = np.flatnonzero(self.keys)
        key_stamps = np.minimum.accumulate(self.stamps[starts][::-1])[::-1]
        place = {int(self.stamps[n]): int(n) for n in np.flatnonzero(~self.hidden)}
        for stamp in wanted:
            # leading pictures of an open group are shown before its key frame, so they count to the group before
            group = max(0, bisect_right(key_stamps, stamp) - 1)
            need[starts[group] if group or starts[0] == 0 else 0 : place[stamp] + 1] = True
        return need


def read_index(container: Any, stream: Any, sound: Any = None) -> PictureIndex:
    """Read all packets of `stream`, and count those of `sound` in the same pass."""
    stamps, keys, hidden, exact = [], [], [], True
    end = 0
    track, sound_track = (
        Track(tick=float(stream.time_base or 1)),
        Track(tick=float(sound.time_base or 0) if sound else 1.0),
    )
    for packet in demux_packets(container, *(s for s in (stream, sound) if s is not None)):
        if not packet.size:
            continue
        if packet.stream is sound:
            sound_track.add(packet.pts or 0, (packet.pts or 0) + (packet.duration or 0), packet.pos)
            continue
        exact &= packet.pts is not None
        stamp = packet.pts if packet.pts is not None else packet.dts or 0
        stamps.append(stamp)
        keys.append(packet.is_keyframe)
        hidden.append(packet.is_discard)
        end = max(end, stamp + (packet.duration or 0))
        if packet.dts is not None:
            track.add(packet.dts, packet.dts + (packet.duration or 0), packet.pos)
    index = PictureIndex(
        stamps=np.array(stamps, dtype=np.int64),
        keys=np.array(keys, dtype=bool),
        hidden=np.array(hidden, dtype=bool),
        tick=track.tick,
        end=end,
        exact=exact,
        sound=SoundPackets(len(sound_track.clock), max(sound_track.ends, default=0) * sound_track.tick),
        track=track,
        sound_track=sound_track,
    )
    return replace(index, exact=exact and _has_display_times(index, container, stream))


def _has_display_times(index: PictureIndex, container: Any, stream: Any) -> bool:
    """Return whether the stamps can be display times; those of an avi only give the decoding order."""
    shown = index.stamps[~index.hidden]
    if len(np.unique(shown)) != len(shown):
        return False
    ordered = bool((np.diff(index.stamps) > 0).all())
    return not (container.format.name == "avi" and stream.codec_context.has_b_frames and ordered)


def index_from_frames(index: PictureIndex, frames: Sequence[tuple[int | None, int]], rate: float) -> PictureIndex:
    """Index a file whose packets lack display times (avi, raw streams). frames: (stamp, duration) as decoded.

    A decoder returns frames in display order, whatever their stamps are. Where stamps are missing, frames are `rate` a
    second.
    """
    stamps = [stamp for stamp, _ in frames if stamp is not None]
    if len(stamps) < len(frames):
        stamps = [round(n / rate / index.tick) for n in range(len(frames))]
    shown = np.sort(np.array(stamps, dtype=np.int64))
    usual = int(np.median(np.diff(shown))) if len(shown) > 1 else 0
    return replace(
        index,
        stamps=shown,
        keys=np.ones(len(shown), dtype=bool),
        hidden=np.zeros(len(shown), dtype=bool),
        end=int(shown[-1]) + max(usual, frames[-1][1]) if len(shown) else 0,
        exact=False,
    )
