"""A video of several recordings: each is read as a file of its own, on one clock that goes on from one to the next.

for part in parts(path, video): ...    # a video of one recording is its own only part
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
from pipeline.media.byte_range import Local, Span
from pipeline.media.extraction import shots
from pipeline.media.render import FrameRenderer

if TYPE_CHECKING:
    from pipeline.media.probe import Facts

F = TypeVar("F", bound="Facts | Video")
OWN = {field.name for field in fields(Piece)} - {"offset", "size", "start"}  # what a recording has of its own


@dataclass(frozen=True)
class Part:
    """A recording: where its bytes lie, what it is on its own clock, and where that begins on the video's, in ms."""

    local: Local
    video: Any
    start_ms: int


def parts(path: str, video: F) -> list[Part]:
    """The recordings of a local file in order of time. video: a `Video`, or `Facts`."""
    if not video.pieces:
        return [Part(path, video, 0)]
    return [_part(path, video, piece) for piece in video.pieces]


def _part(path: str, video: F, piece: Piece) -> Part:
    end = piece.start + piece.duration
    inside = [gap for gap in video.gaps if piece.start <= gap.start < end]
    gaps = tuple(Gap(start=gap.start - piece.start, end=gap.end - piece.start) for gap in inside)
    own: dict[str, Any] = {name: getattr(piece, name) for name in OWN}
    span = Span(path, piece.offset, piece.offset + piece.size)
    return Part(span, replace(video, pieces=(), gaps=gaps, **own), round(piece.start * 1000))


def in_a_row(found: Sequence[tuple[Span, Facts]]) -> Facts:
    """Facts of the whole, of those of its recordings."""
    pieces: list[Piece] = []
    gaps: list[Gap] = []
    start = 0.0
    for span, facts in found:
        own: dict[str, Any] = {name: getattr(facts, name) for name in OWN}
        own["duration"] = round(facts.duration, 3)  # clips count in milliseconds
        pieces.append(Piece(offset=span.start, size=span.end - span.start, start=start, **own))
        gaps += [Gap(start=start + gap.start, end=start + gap.end) for gap in facts.gaps]
        start = round(start + own["duration"], 3)
    each = [facts for _, facts in found]
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


def in_parts(found: Sequence[Part], cuts: Sequence[ClipRequest]) -> Iterator[tuple[Part, list[ClipRequest]]]:
    """Cuts, in order of time, by the recording in which each begins, and on its clock."""
    starts = [part.start_ms for part in found]
    for n, group in groupby(cuts, key=lambda cut: max(0, bisect_right(starts, cut.start_ms) - 1)):
        yield found[n], [_earlier(cut, starts[n]) for cut in group]


def _earlier(cut: ClipRequest, ms: int) -> ClipRequest:
    return ClipRequest(cut.start_ms - ms, cut.end_ms - ms, tuple(time - ms / 1000 for time in cut.times))


def whole(path: str, facts: Facts, cut: ClipRequest, painter: FrameRenderer, sound: bool = True) -> ExtractedClip:
    """Frames, all at one size, and sound of a cut that may lie in several recordings. sound: whether it is wanted."""
    found = parts(path, facts)
    if len(found) == 1:
        return _shot(found[0], cut, painter, sound)
    ends = [*(part.start_ms for part in found[1:]), cut.end_ms]
    shot, heard = ExtractedClip(), bytearray()
    for part, end in zip(found, ends, strict=True):
        inner = _inside(cut, part.start_ms, end)
        if inner.times:
            seen = _shot(part, _earlier(inner, part.start_ms), painter, sound)
            shot.frames += [(ms + inner.start_ms - cut.start_ms, jpeg) for ms, jpeg in seen.frames]
            shot.pcm = seen.pcm or shot.pcm
            heard += seen.pcm or b""
        heard += bytes(2 * RATE * (inner.end_ms - cut.start_ms) // 1000 - len(heard))
    shot.pcm = shot.pcm and bytes(heard)
    return shot


def _inside(cut: ClipRequest, start_ms: int, end_ms: int) -> ClipRequest:
    times = tuple(time for time in cut.times if start_ms <= time * 1000 < end_ms)
    return ClipRequest(max(cut.start_ms, start_ms), min(cut.end_ms, end_ms), times)


def _shot(part: Part, cut: ClipRequest, painter: FrameRenderer, sound: bool) -> ExtractedClip:
    streams = part.video if sound else replace(part.video, sound=None)
    [shot] = shots(part.local, streams, [cut], painter)
    return shot


def stretches(video: Video) -> list[tuple[int, int]]:
    """Spans of a recording between its gaps, in ms: no clip lies in a gap or across one."""
    bounds = [0, *(round(time * 1000) for gap in video.gaps for time in (gap.start, gap.end))]
    return [(a, b) for a, b in list(pairwise([*bounds, round(video.duration * 1000)]))[::2] if a < b]
