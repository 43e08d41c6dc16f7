"""Extract frames and sound of all clips of a video in one pass over its packets.

    for clip in extract_clips(path, video, requests, renderer): ...    # an ExtractedClip per request

Decoded are only the packets from the key frame before a wanted frame up to that frame; of those, frames that no other
frame refers to are skipped unless they are wanted. Measured on 30 s of 720p H.264, 48 frames and the sound, one core:
2.1 s against 2.5 s for decoding everything and 3.2 s for decord (frames alone); 16 frames of 10 minutes: 3.2 s against
4.6 s for decord. So this reader is the default for dense and for sparse sampling, and `reader: decord` the alternative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.errors import BadMedia
from pipeline.media.audio_extraction import AudioExtractor, ClipRequest, ExtractedClip, Streams
from pipeline.media.byte_range import Local
from pipeline.media.demux import decode_packets, demux_packets, stamp_of, start_of
from pipeline.media.libav_errors import is_damage
from pipeline.media.packet_index import PictureIndex, index_from_frames, read_index
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import open_container

# In these codecs no frame refers to a frame marked as unreferenced. In HEVC a higher temporal layer may refer to it.
DISPOSABLE = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video"})


def build_index(path: Local, picture: int, sound: int | None = None) -> PictureIndex:
    """Index stream number `picture`; decodes the file if its packets have no display times.

    sound: number of the audio stream whose packets are counted, too.
    """
    index = index_packets(path, picture, sound)
    return index if index.exact else index_frames(path, picture, index)


def index_packets(path: Local, picture: int, sound: int | None = None) -> PictureIndex:
    """Index a stream from its packets, without a check that their times are right."""
    with open_container(path) as container:
        return read_index(container, container.streams[picture], None if sound is None else container.streams[sound])


def index_frames(path: Local, picture: int, index: PictureIndex) -> PictureIndex:
    """Index a stream by decoding all of it. index: from its packets."""
    with open_container(path) as container:
        stream = container.streams[picture]
        frames = [
            (stamp_of(frame), frame.duration or 0) for frame in decode_packets(demux_packets(container, stream), stream)
        ]
        return index_from_frames(index, frames, float(stream.average_rate or stream.guessed_rate or 25))


def choose_stamps(index: PictureIndex, request: ClipRequest, start: float) -> list[int]:
    """Return the timestamps of a request's frames; `start` is the container's start time in seconds."""
    span = (request.start_ms / 1000 + start, request.end_ms / 1000 + start)
    return index.choose_stamps([time + start for time in request.times], *span)


def clip_ms(stamp: int, index: PictureIndex, request: ClipRequest, start: float) -> int:
    """Return a frame's time on the clip's own clock, in ms."""
    return max(0, round((stamp * index.tick - start) * 1000) - request.start_ms)


class PictureDecoder:
    """Decodes wanted frames from no more packets than they need."""

    def __init__(self, stream: Any, index: PictureIndex, wanted: Iterable[int]) -> None:
        """stream: of the open container; index: of the same stream; wanted: timestamps of frames."""
        self.stream, self.index, self.wanted = stream, index, set(wanted)
        self.needed_packets = index.needed_packets(sorted(self.wanted))
        self.skips_unreferenced = index.exact and stream.codec_context.name in DISPOSABLE
        self.position, self.shown, self.has_fed, self.intact = 0, 0, False, True
        stream.codec_context.thread_count = 1  # each core has a worker: more threads would only compete

    def frames(self, packet: Any) -> Iterator[tuple[int, Any]]:
        """Yield the wanted frames that the decoder returns after this packet; an empty packet ends the stream."""
        if not packet.size:
            yield from self._drain()
            return
        needed = bool(self.needed_packets[self.position]) if self.position < len(self.needed_packets) else False
        self.position += 1
        if needed:
            if self.skips_unreferenced:
                self.stream.codec_context.skip_frame = "DEFAULT" if packet.pts in self.wanted else "NONREF"
            self.has_fed = True
            yield from self._pick_wanted(self._decode(packet))
        elif self.has_fed:
            yield from self._drain()

    def _drain(self) -> Iterator[tuple[int, Any]]:
        if self.has_fed:
            yield from self._pick_wanted(self._decode(None))
            self.stream.codec_context.flush_buffers()
            self.has_fed = False

    def _decode(self, packet: Any) -> list[Any]:
        import av.error

        try:
            return list(self.stream.codec_context.decode(packet))
        except av.error.FFmpegError as error:
            if not is_damage(error):
                raise
            self.intact = False
            return []

    def _pick_wanted(self, frames: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        for frame in frames:
            stamp = self._stamp(frame)
            # frames after damage are built on damaged ones, up to the next key frame
            self.intact = (self.intact or bool(frame.key_frame)) and not frame.is_corrupt
            if stamp is not None and stamp in self.wanted and self.intact:
                self.wanted.discard(stamp)  # one frame for a timestamp that comes twice
                yield stamp, frame

    def _stamp(self, frame: Any) -> int | None:
        if self.index.exact:
            return stamp_of(frame)
        self.shown += 1
        return int(self.index.stamps[self.shown - 1]) if self.shown <= len(self.index.stamps) else None


def read_frames(path: Local, picture: int, index: PictureIndex, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield wanted frames of the picture alone, as (stamp, `av.VideoFrame`), in order."""
    with open_container(path) as container:
        stream = container.streams[picture]
        decoder = PictureDecoder(stream, index, wanted)
        for packet in demux_packets(container, stream):
            yield from decoder.frames(packet)


class ExtractionPass:
    """One pass over a file that yields each clip as soon as its frames and sound are complete."""

    def __init__(
        self,
        container: Any,
        video: Streams,
        requests: Sequence[ClipRequest],
        renderer: FrameRenderer,
        index: PictureIndex,
    ):
        """requests: in the order of their starts."""
        self.container, self.renderer, self.index = container, renderer, index
        self.start = start_of(container)
        self.requests, self.clips, self.finished = requests, [ExtractedClip() for _ in requests], 0
        self.owners: dict[int, list[int]] = {}
        self.last_stamp = [0] * len(requests)
        for n, request in enumerate(requests):
            for stamp in choose_stamps(index, request, self.start):
                self.owners.setdefault(stamp, []).append(n)
                self.last_stamp[n] = stamp
        self.picture = container.streams[video.picture]
        self.decoder = PictureDecoder(self.picture, index, self.owners)
        self.audio = AudioExtractor(container, video, requests, index.sound.packets)
        self.last_seen = -1

    def read_clips(self) -> Iterator[ExtractedClip]:
        """Yield each clip as soon as its frames and its sound are complete."""
        streams = [stream for stream in (self.picture, self.audio.stream) if stream is not None]
        for packet in demux_packets(self.container, *streams):
            if packet.stream is self.audio.stream:
                self.audio.add_packet(packet)
            else:
                self._add_picture_packet(packet)
            while (
                self.finished < len(self.requests)
                and self.audio.is_complete(self.finished)
                and self.last_seen >= self.last_stamp[self.finished]
            ):
                yield self._finish_clip()
        while self.finished < len(self.requests):
            yield self._finish_clip()

    def _add_picture_packet(self, packet: Any) -> None:
        for stamp, frame in self.decoder.frames(packet):
            self.last_seen = max(self.last_seen, stamp)
            jpeg = self.renderer.jpeg(frame)
            for n in self.owners[stamp]:
                self.clips[n].frames.append((clip_ms(stamp, self.index, self.requests[n], self.start), jpeg))

    def _finish_clip(self) -> ExtractedClip:
        n, clip = self.finished, self.clips[self.finished]
        self.clips[n] = ExtractedClip()  # frees the frames
        self.finished += 1
        return self.audio.fill(n, clip)


def extract_clips(
    path: Local, video: Streams, requests: Sequence[ClipRequest], renderer: FrameRenderer
) -> Iterator[ExtractedClip]:
    """Yield frames and sound of each request from a local file. Raises BadMedia where the picture has no packet."""
    index = build_index(path, video.picture, video.sound)
    if not len(index.shown):
        raise BadMedia("no frame in the whole file")
    return extract_with_index(path, video, requests, renderer, index)


def extract_with_index(
    path: Local, video: Streams, requests: Sequence[ClipRequest], renderer: FrameRenderer, index: PictureIndex
) -> Iterator[ExtractedClip]:
    """Yield frames and sound of each request from a file whose index is known."""
    with open_container(path) as container:
        yield from ExtractionPass(container, video, requests, renderer, index).read_clips()


def extract_audio(path: Local, video: Streams, requests: Sequence[ClipRequest], count: int) -> Iterator[ExtractedClip]:
    """Yield only the audio of each request, in order, for readers that decode only pictures."""
    with open_container(path) as container:
        audio, finished = AudioExtractor(container, video, requests, count), 0
        for packet in demux_packets(container, audio.stream) if audio.stream is not None else ():
            audio.add_packet(packet)
            while finished < len(requests) and audio.is_complete(finished):
                yield audio.fill(finished, ExtractedClip())
                finished += 1
        yield from (audio.fill(n, ExtractedClip()) for n in range(finished, len(requests)))
