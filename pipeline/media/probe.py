"""Probe a file: its streams, clock, picture and sound, from its packets and its first frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from manifests.records import Gap, Piece, SoundTrack, SubtitleTrack
from pipeline.errors import BadMedia
from pipeline.media.byte_range import ByteRange, Local, find_recordings
from pipeline.media.colour import colour_of
from pipeline.media.demux import decode_packets, demux_packets, start_of
from pipeline.media.extraction import index_frames, index_packets
from pipeline.media.interlace import is_interlaced
from pipeline.media.libav_errors import translate_libav_errors
from pipeline.media.orientation import orientation_of
from pipeline.media.packet_index import PictureIndex
from pipeline.media.recordings import merge_facts
from pipeline.media.safety import open_container
from pipeline.media.stream_choice import choose_picture
from pipeline.media.timestamps import Join, find_gaps, find_joins
from pipeline.sources.file_signature import describe_file

SHORT = 0.1  # share of the header's duration that may be missing before a file counts as truncated
WIDEST_PIXEL = 10.0  # a larger sample aspect ratio is a broken header
TEXT = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})


@dataclass(frozen=True)
class Facts:
    """What `probe` found; the fields are those of `Video`."""

    container: str
    duration: float
    picture: int
    codec: str
    pixel_format: str
    coded_width: int
    coded_height: int
    width: int
    height: int
    rotation: int
    mirrored: bool
    interlaced: bool
    transfer: str
    primaries: str
    matrix: str
    range: str
    mapped: bool
    frame_rate: float
    frames: int
    variable_rate: bool
    sounds: tuple[SoundTrack, ...]
    sound: int | None
    subtitles: tuple[SubtitleTrack, ...]
    pieces: tuple[Piece, ...] = ()
    gaps: tuple[Gap, ...] = ()


def probe(path: str) -> Facts | None:
    """Return the facts of a local file, or None if it has no moving picture. Raises BadMedia with the reason."""
    import av.error

    try:
        opened = open_container(path)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise BadMedia(f"not a video: {describe_file(path)}") from error
    with opened as container, translate_libav_errors():
        stream = choose_picture(container)
        if stream is not None:
            return _facts(path, container, stream)
        if not container.streams:
            raise BadMedia("not a video: no stream in it")
        return None


def _facts(path: Local, container: Any, stream: Any) -> Facts:
    if stream.codec_context is None:
        raise BadMedia("no decoder for its picture")
    sounds = tuple(list_sound_tracks(container))
    sound = choose_sound(container, sounds)
    index = index_packets(path, stream.index, sound)
    found_joins = find_joins(index.track, index.sound_track, container.format.name) if isinstance(path, str) else []
    if found_joins and isinstance(path, str):
        return _facts_of_recordings(path, container.format.name, found_joins)
    if not index.exact:
        index = index_frames(path, stream.index, index)
    if not len(index.shown):
        raise BadMedia("no frame in it")
    frame = first_frame(container, stream)
    start = start_of(container)
    orientation, colour = orientation_of(frame), colour_of(frame)
    width, height = display_size(frame, stream, orientation.rotation)
    check_whole(container, index, start)
    empty = find_gaps(np.asarray(index.shown * index.tick, dtype=np.float64), index.sound_track)
    rate, variable = frame_rate(index, sum(end - begin for begin, end in empty))
    return Facts(
        container=container.format.name,
        duration=round(max(0.0, index_end(index) - start), 6),  # containers count in microseconds
        picture=stream.index,
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
        coded_width=frame.width,
        coded_height=frame.height,
        width=width,
        height=height,
        **asdict(orientation),
        interlaced=is_interlaced(container, stream, frame),
        **asdict(colour),
        mapped=colour.mapped,
        frame_rate=rate,
        frames=len(index.shown),
        variable_rate=variable,
        sounds=sounds,
        sound=sound,
        subtitles=tuple(list_subtitle_tracks(container)),
        gaps=tuple(Gap(start=round(a - start, 3), end=round(b - start, 3)) for a, b in empty),
    )


def _facts_of_recordings(path: str, container: str, found_joins: list[Join]) -> Facts:
    """Return the facts of a file with several recordings, each of which is read as a file of its own."""
    spans = find_recordings(path, os.path.getsize(path), container, found_joins)
    if spans is None:
        setback = max(join.setback for join in found_joins)
        advice = "join the recordings with ffmpeg's concat demuxer"
        raise BadMedia(f"several recordings in one: its clock jumps back by {setback:.1f} s; {advice}")
    found = [(span, facts) for span in spans if (facts := _recording_facts(span)) is not None and facts.duration > 0]
    if not found:
        raise BadMedia("several recordings in one, and no picture in any that can be decoded")
    return merge_facts(found)


def _recording_facts(span: ByteRange) -> Facts | None:
    """Return the facts of one recording; None where its picture is missing or unreadable."""
    import av.error

    try:
        with open_container(span) as container:
            stream = choose_picture(container)
            return None if stream is None else _facts(span, container, stream)
    except (BadMedia, av.error.FFmpegError, UnicodeDecodeError):
        return None


def first_frame(container: Any, stream: Any) -> Any:
    """Return the first frame that can be decoded. Raises BadMedia if no frame can."""
    stream.codec_context.thread_count = 1
    for frame in decode_packets(demux_packets(container, stream), stream):
        return frame
    raise BadMedia("no frame of it can be decoded")


def display_size(frame: Any, stream: Any, rotation: int) -> tuple[int, int]:
    """Return width and height as displayed, after sample aspect ratio and rotation."""
    ratio = float(stream.sample_aspect_ratio or 1)
    if not 1 / WIDEST_PIXEL < ratio < WIDEST_PIXEL:
        ratio = 1.0
    width, height = max(1, round(frame.width * ratio)), frame.height
    return (height, width) if rotation in (90, 270) else (width, height)


def frame_rate(index: PictureIndex, empty: float = 0.0) -> tuple[float, bool]:
    """Return frames a second over the whole file, and whether over 1 % of the intervals are off by a quarter.

    empty: seconds of its gaps.
    """
    shown = index.shown
    if len(shown) < 2:
        return 0.0, False
    intervals = np.diff(shown) * index.tick
    usual = float(np.median(intervals))
    # a millisecond of slack: mkv rounds 33.4 ms to 33 or 34
    odd = np.abs(intervals - usual) > max(usual / 4, 0.0015)
    return round((len(shown) - 1) / float(intervals.sum() - empty), 6), bool(odd.mean() > 0.01)


def index_end(index: PictureIndex) -> float:
    """Return when the last frame ends, in seconds; a frame without a duration lasts the usual interval."""
    shown = index.shown
    last = int(shown[-1])
    if index.end > last:
        return index.end * index.tick
    usual = int(np.median(np.diff(shown))) if len(shown) > 1 else 0
    return (last + usual) * index.tick


def check_whole(container: Any, index: PictureIndex, start: float) -> None:
    """Raise BadMedia if the packets end long before the duration in the header."""
    promised = (container.duration or 0) / 1e6
    present = max(index_end(index), index.sound.end) - start
    if present < promised * (1 - SHORT) - 1:
        raise BadMedia(f"truncated: {present:.1f} s of {promised:.1f} s are there")


def list_sound_tracks(container: Any) -> list[SoundTrack]:
    """Return the audio tracks that can be decoded, in the order of the file."""
    return [
        SoundTrack(
            index=stream.index,
            codec=stream.codec_context.name,
            rate=stream.codec_context.sample_rate or 0,
            channels=stream.codec_context.channels or 0,
            language=language_of(stream),
        )
        for stream in container.streams.audio
        if stream.codec_context is not None
    ]


def choose_sound(container: Any, tracks: Sequence[SoundTrack]) -> int | None:
    """Return the index of the audio track that a player would choose: the first marked as default, else the first."""
    from av.stream import Disposition

    marked = [track for track in tracks if container.streams[track.index].disposition & Disposition.default]
    return next((track.index for track in (*marked, *tracks)), None)


def list_subtitle_tracks(container: Any) -> list[SubtitleTrack]:
    """Return the text streams; bitmap subtitles (DVD, Blu-ray) are left out."""
    return [
        SubtitleTrack(position=position, codec=stream.codec_context.name, language=language_of(stream))
        for position, stream in enumerate(container.streams.subtitles)
        if stream.codec_context is not None and stream.codec_context.name in TEXT
    ]


def language_of(stream: Any) -> str | None:
    """Return the language tag of a stream; None if it is missing or `und`."""
    tag = stream.metadata.get("language")
    return None if tag in (None, "", "und") else str(tag)
