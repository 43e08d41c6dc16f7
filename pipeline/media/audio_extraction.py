"""Extract the audio of each clip from packets, as soon as the clip's audio is complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.media.audio import RATE, AudioTimeline
from pipeline.media.demux import decode_packets, start_of
from pipeline.media.downmix import Mix, downmix, weights_of


class Streams(Protocol):
    """The numbers of the streams to read: a `Video`, or the facts of `probe`."""

    @property
    def picture(self) -> int: ...

    @property
    def sound(self) -> int | None: ...


@dataclass(frozen=True)
class ClipRequest:
    """A clip to extract: its span in ms, and the times of its frames in seconds, both on the video's clock."""

    start_ms: int
    end_ms: int
    times: tuple[float, ...]


@dataclass
class ExtractedClip:
    """A clip's JPEGs, each with its time in ms on the clip's own clock, and its PCM16 at 16 kHz (None: no audio).

    cancelled, channel: as in `ClipMedia`.
    """

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    pcm: bytes | None = None
    cancelled: float | None = None
    channel: int | None = None


class AudioExtractor:
    """Collects packets of the audio stream, and fills in the PCM of each requested clip."""

    def __init__(self, container: Any, video: Streams, requests: Sequence[ClipRequest], count: int) -> None:
        """count: packets of the audio stream; the last of them ends the stream, which may be long before the video."""
        self.stream = None if video.sound is None else container.streams[video.sound]
        self.requests, self.start, self.packets_left = requests, start_of(container), count
        self.span = (_sample_number(requests[0].start_ms), _sample_number(max(request.end_ms for request in requests)))
        self.timeline = AudioTimeline(*self.span)
        self.channels_timeline: AudioTimeline | None = None  # unmixed, of several channels
        self.weights: tuple[float, ...] = ()

    def add_packet(self, packet: Any) -> None:
        """Decode a packet; an empty packet ends the stream."""
        self._add(decode_packets([packet], self.stream))
        self.packets_left -= 1
        if self.packets_left == 0 and packet.size:
            self.finish()

    def finish(self) -> None:
        """End the stream: flush the decoder and the resampler."""
        import av

        self._add(decode_packets([av.Packet()], self.stream))
        self.timeline.flush()
        if self.channels_timeline is not None:
            self.channels_timeline.flush()
        self.packets_left = 0

    def _add(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            channels = frame.layout.nb_channels
            if channels > 1 and self.channels_timeline is None and not self.timeline.has_sound:
                self.weights = weights_of(frame.layout.name, channels)
                self.channels_timeline = AudioTimeline(*self.span, frame.layout, channels) if self.weights else None
            self.timeline.add(frame, self.start)
            if self.channels_timeline is not None:
                self.channels_timeline.add(frame, self.start)

    def is_complete(self, n: int) -> bool:
        """Return whether the audio of request `n` is complete."""
        return (
            self.stream is None
            or self.packets_left <= 0
            or self.timeline.end >= _sample_number(self.requests[n].end_ms)
        )

    def fill(self, n: int, clip: ExtractedClip) -> ExtractedClip:
        """Set the audio of request `n` in its clip, and drop the samples that no later request needs.

        Leaves `pcm` None if no frame was decoded.
        """
        following = [_sample_number(request.start_ms) for request in self.requests[n + 1 : n + 2]]
        span = [_sample_number(self.requests[n].start_ms), _sample_number(self.requests[n].end_ms), *following]
        mono = self.timeline.take_pcm(*span)
        mix = (
            Mix(mono)
            if self.channels_timeline is None
            else downmix(mono, self.channels_timeline.take_pcm(*span), self.weights)
        )
        if self.timeline.has_sound:
            clip.pcm, clip.cancelled, clip.channel = mix
        return clip


def _sample_number(ms: int) -> int:
    return ms * RATE // 1000
