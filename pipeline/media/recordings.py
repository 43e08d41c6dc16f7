"""Read a video of several recordings: each as a file of its own, on one continuous clock.

for recording in list_recordings(path, video): ...    # a video of one recording has itself as the only element
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from manifests.records import Gap, Piece, Video
from pipeline.media.audio import RATE
from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.byte_range import ByteRange, Local
from pipeline.media.extraction import extract_clips
from pipeline.media.render import FrameRenderer

if TYPE_CHECKING:
    from pipeline.media.probe import Facts

F = TypeVar("F", bound="Facts | Video")
OWN = {field.name for field in fields(Piece)} - {"offset", "size", "start"}  # facts that differ between recordings


@dataclass(frozen=True)
class Recording:
    """The bytes of a recording, its `Video` or `Facts` on its own clock, and its start on the video's clock in ms."""

    local: Local
    video: Any
    start_ms: int


def list_recordings(path: str, video: F) -> list[Recording]:
    """Return the recordings of a local file in order of time. video: a `Video`, or `Facts`."""
    if not video.pieces:
        return [Recording(path, video, 0)]
    return [_recording(path, video, piece) for piece in video.pieces]


def _recording(path: str, video: F, piece: Piece) -> Recording:
    end = piece.start + piece.duration
    inside = [gap for gap in video.gaps if piece.start <= gap.start < end]
    gaps = tuple(Gap(start=gap.start - piece.start, end=gap.end - piece.start) for gap in inside)
    own: dict[str, Any] = {name: getattr(piece, name) for name in OWN}
    span = ByteRange(path, piece.offset, piece.offset + piece.size)
    return Recording(span, replace(video, pieces=(), gaps=gaps, **own), round(piece.start * 1000))


def merge_facts(recordings: Sequence[tuple[ByteRange, Facts]]) -> Facts:
    """Return the facts of a whole file from those of its recordings."""
    pieces: list[Piece] = []
    gaps: list[Gap] = []
    start = 0.0
    for span, facts in recordings:
        own: dict[str, Any] = {name: getattr(facts, name) for name in OWN}
        own["duration"] = round(facts.duration, 3)  # clips count in milliseconds
        pieces.append(Piece(offset=span.start, size=span.end - span.start, start=start, **own))
        gaps += [Gap(start=start + gap.start, end=start + gap.end) for gap in facts.gaps]
        start = round(start + own["duration"], 3)
    each = [facts for _, facts in recordings]
    return replace(
        each[0],
        duration=start,
        frames=sum(facts.frames for facts in each),
        coded_width=max(facts.coded_width for facts in each),
        coded_height=max(facts.coded_height for facts in each),
        variable_rate=len({round(facts.frame_rate, 3) for facts in each}) > 1 or any(f.variable_rate for f in each),
        interlaced=any(facts.interlaced for facts in each),
        mapped=any(facts.mapped for facts in each),
        pieces=tuple(pieces),
        gaps=tuple(gaps),
    )


def group_by_recording(
    recordings: Sequence[Recording], requests: Sequence[ClipRequest]
) -> Iterator[tuple[Recording, list[ClipRequest]]]:
    """Yield each recording with the requests that begin in it, moved to its clock. requests: in order of time."""
    starts = [recording.start_ms for recording in recordings]
    for n, group in groupby(requests, key=lambda request: max(0, bisect_right(starts, request.start_ms) - 1)):
        yield recordings[n], [_shift_request(request, starts[n]) for request in group]


def _shift_request(request: ClipRequest, ms: int) -> ClipRequest:
    return ClipRequest(request.start_ms - ms, request.end_ms - ms, tuple(time - ms / 1000 for time in request.times))


def extract_clip(
    path: str, facts: Facts, request: ClipRequest, renderer: FrameRenderer, sound: bool = True
) -> ExtractedClip:
    """Extract frames, all at one size, and sound of a request that may span several recordings.

    sound: whether the audio is extracted, too.
    """
    recordings = list_recordings(path, facts)
    if len(recordings) == 1:
        return _extract(recordings[0], request, renderer, sound)
    ends = [*(recording.start_ms for recording in recordings[1:]), request.end_ms]
    clip, pcm = ExtractedClip(), bytearray()
    for recording, end in zip(recordings, ends, strict=True):
        inner = _crop_request(request, recording.start_ms, end)
        if inner.times:
            inner_clip = _extract(recording, _shift_request(inner, recording.start_ms), renderer, sound)
            clip.frames += [(ms + inner.start_ms - request.start_ms, jpeg) for ms, jpeg in inner_clip.frames]
            clip.pcm = inner_clip.pcm or clip.pcm
            pcm += inner_clip.pcm or b""
        pcm += bytes(2 * RATE * (inner.end_ms - request.start_ms) // 1000 - len(pcm))
    clip.pcm = clip.pcm and bytes(pcm)
    return clip


def _crop_request(request: ClipRequest, start_ms: int, end_ms: int) -> ClipRequest:
    times = tuple(time for time in request.times if start_ms <= time * 1000 < end_ms)
    return ClipRequest(max(request.start_ms, start_ms), min(request.end_ms, end_ms), times)


def _extract(recording: Recording, request: ClipRequest, renderer: FrameRenderer, sound: bool) -> ExtractedClip:
    streams = recording.video if sound else replace(recording.video, sound=None)
    [clip] = extract_clips(recording.local, streams, [request], renderer)
    return clip


def spans_between_gaps(video: Video) -> list[tuple[int, int]]:
    """Return the spans of a recording between its gaps, in ms: no clip lies in a gap or across one."""
    bounds = [0, *(round(time * 1000) for gap in video.gaps for time in (gap.start, gap.end))]
    return [(a, b) for a, b in list(pairwise([*bounds, round(video.duration * 1000)]))[::2] if a < b]
