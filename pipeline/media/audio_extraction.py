"""Extract the sound of each clip from packets, as soon as it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.media.audio import RATE, AudioTimeline
from pipeline.media.demux import decode, start_of
from pipeline.media.downmix import Mix, downmix, weights_of


class Streams(Protocol):
    """Which streams of a file to read, by number: those of a `Video`, or of what `probe` found."""

    @property
    def picture(self) -> int: ...

    @property
    def sound(self) -> int | None: ...


@dataclass(frozen=True)
class ClipRequest:
    """What is wanted of one clip: its span in ms, and the times (s, on the video's clock) to take frames at."""

    start_ms: int
    end_ms: int
    times: tuple[float, ...]


@dataclass
class ExtractedClip:
    """One clip's JPEGs, each with its time in ms on the clip's own clock, and its PCM16 at 16 kHz (None: no sound).

    cancelled, channel: as in `Footage`.
    """

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    pcm: bytes | None = None
    cancelled: float | None = None
    channel: int | None = None


class AudioExtractor:
    """The sound of cuts: packets in, the PCM of each cut out as soon as it is whole."""

    def __init__(self, container: Any, video: Streams, cuts: Sequence[ClipRequest], count: int) -> None:
        """count: how many packets there are, since a sound that ends before the picture says so by nothing else."""
        self.stream = None if video.sound is None else container.streams[video.sound]
        self.cuts, self.start, self.left = cuts, start_of(container), count
        self.ends = (_sample(cuts[0].start_ms), _sample(max(cut.end_ms for cut in cuts)))
        self.tape = AudioTimeline(*self.ends)
        self.apart: AudioTimeline | None = None  # the channels, where there are several
        self.weights: tuple[float, ...] = ()

    def hear(self, packet: Any) -> None:
        """Take a packet of the sound; an empty one ends it."""
        self._add(decode([packet], self.stream))
        self.left -= 1
        if self.left == 0 and packet.size:
            self.end()

    def end(self) -> None:
        """No sound comes any more."""
        import av

        self._add(decode([av.Packet()], self.stream))
        self.tape.flush()
        if self.apart is not None:
            self.apart.flush()
        self.left = 0

    def _add(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            channels = frame.layout.nb_channels
            if channels > 1 and self.apart is None and not self.tape.heard:
                self.weights = weights_of(frame.layout.name, channels)
                self.apart = AudioTimeline(*self.ends, frame.layout, channels) if self.weights else None
            self.tape.add(frame, self.start)
            if self.apart is not None:
                self.apart.add(frame, self.start)

    def has(self, n: int) -> bool:
        """Whether the sound of cut `n` is there."""
        return self.stream is None or self.left <= 0 or self.tape.end >= _sample(self.cuts[n].end_ms)

    def put(self, n: int, shot: ExtractedClip) -> ExtractedClip:
        """Put the sound of cut `n` into its shot, and forget what no later cut needs; none if nothing was heard."""
        following = [_sample(cut.start_ms) for cut in self.cuts[n + 1 : n + 2]]
        span = [_sample(self.cuts[n].start_ms), _sample(self.cuts[n].end_ms), *following]
        mono = self.tape.cut(*span)
        mix = Mix(mono) if self.apart is None else downmix(mono, self.apart.cut(*span), self.weights)
        if self.tape.heard:
            shot.pcm, shot.cancelled, shot.channel = mix
        return shot


def _sample(ms: int) -> int:
    return ms * RATE // 1000
