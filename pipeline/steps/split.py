"""Step `split`: cut a video into clips, and score each clip.

One cheap ffmpeg pass finds scene changes, frozen, black and silent spans and the loudness; clips end at scene changes,
preferably in a pause of the sound, and are never longer than one chunk of Ola's hearing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from manifests.records import Clip, Drop, Span, Video
from pipeline import step
from pipeline.media import clip_boundaries
from pipeline.media.byte_range import Local
from pipeline.media.demux import start_of
from pipeline.media.extraction import index_of, packets_of
from pipeline.media.libav_errors import damage_named
from pipeline.media.recordings import Part, parts, stretches
from pipeline.media.safety import open_container
from pipeline.media.scan import Scan, scan_video, scores
from pipeline.media.video_file import original

HALF_MS = 0.0005  # seconds; a clip's times are whole milliseconds


class SplitSettings(step.Settings):
    """How long clips are."""

    shortest: float = Field(default=2.0, gt=0)
    """Fewest seconds of a clip; under 2 s there is little to say."""
    longest: float = Field(default=30.0, gt=0)
    """Most seconds of a clip, at least twice `shortest`; 30 s is one audio chunk of Ola."""

    @model_validator(mode="after")
    def _room_to_cut(self) -> SplitSettings:
        if self.longest < 2 * self.shortest:
            raise ValueError(f"longest ({self.longest} s) must be at least twice shortest ({self.shortest} s)")
        return self


class Split(step.Step[Video, Clip]):
    """Cut a video into clips with scores."""

    name, takes, gives = "split", Video, Clip
    version = 2  # 1 cut across gaps and did not count frames
    settings_type = SplitSettings
    settings: SplitSettings

    def allowance(self, record: Video) -> float:
        """The pass runs at 20 times the speed of play for 720p on one core; 8K is up to 80 times slower."""
        return 4 * record.duration

    def originals(self, record: Video) -> str:
        """Return the URI of the video: split reads all of it."""
        return record.uri

    def run(self, batch: Sequence[Video]) -> list[list[Clip] | Drop]:
        """Clips that cover all of the video but its gaps, or those of a list; a drop where there is none.

        Raises ScanError.
        """
        with damage_named():
            return [self._clips(video) for video in batch]

    def _clips(self, video: Video) -> list[Clip] | Drop:
        if not video.spans and video.duration < self.settings.shortest:
            detail = f"{video.duration:.2f} s; the limit is {self.settings.shortest} s"
            return Drop("shorter than split.shortest", detail)
        path = original(video, self.scratch)
        found = parts(path, video)
        starts = [0, *(part.start_ms for part in found[1:]), sys.maxsize]
        named = [[s for s in video.spans if a <= s.start_ms < b] for a, b in pairwise(starts)]
        clips = [
            clip
            for part, spans in zip(found, named, strict=True)
            if spans or not video.spans
            for clip in self._clips_of(part, spans)
        ]
        if not clips:
            return Drop("shorter than split.shortest", f"between its gaps; the limit is {self.settings.shortest} s")
        return clips

    def _clips_of(self, part: Part, named: Sequence[Span]) -> list[Clip]:
        video: Video = part.video
        seen = scan_video(part.local, duration=video.duration, sound=video.sound, picture=video.picture)
        shown = times_of(part.local, video.picture)
        return [
            Clip(
                id=f"{video.id}-{part.start_ms + start:09d}-{part.start_ms + end:09d}",
                video=video.id,
                start_ms=part.start_ms + start,
                end_ms=part.start_ms + end,
                meta=meta,
                **clip_scores(seen, shown, start, end),
            )
            for start, end, meta in named_spans(part, named) or self._spans(seen, stretches(video))
        ]

    def _spans(self, seen: Scan, between: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
        """The clips of each stretch between gaps, in ms."""
        spans = []
        for first, last in between:
            inner = seen if len(between) == 1 else clip_boundaries.within(seen, first / 1000, last / 1000)
            planned = clip_boundaries.plan(inner, self.settings.shortest, self.settings.longest)
            spans += [(first + start, first + end, "{}") for start, end in planned]
        return spans


def named_spans(part: Part, spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """Start and end in ms of a recording, and metadata, of the spans of a list, up to the recording's end."""
    last = round(part.video.duration * 1000)
    clips = [(span.start_ms - part.start_ms, span.end_ms - part.start_ms, span.meta) for span in spans]
    # one that begins after the end stays as it is: `extract` drops it, so that it has a row
    return [(start, min(end, last) if start < last else end, meta) for start, end, meta in clips]


def times_of(local: Local, picture: int) -> NDArray[np.float64]:
    """When each picture of a stream is shown, in seconds from the start of the file, ascending."""
    index = packets_of(local, picture)
    if len(np.unique(index.stamps)) < len(index.stamps):  # the packets do not tell
        index = index_of(local, picture)
    with open_container(local) as container:
        return np.asarray(index.shown * index.tick - start_of(container), dtype=np.float64)


def clip_scores(seen: Scan, shown: NDArray[np.float64], start: int, end: int) -> dict[str, Any]:
    """The scores of a span in ms, as fields of a Clip. shown: when each picture begins, in seconds."""
    first, last = np.searchsorted(shown, (start / 1000 - HALF_MS, end / 1000 - HALF_MS))
    new = [start / 1000, *shown[first:last], end / 1000]
    longest = max(after - before for before, after in pairwise(new))
    scored = scores(seen, start / 1000, end / 1000)
    return {**scored, "frames": int(last - first), "longest_gap": round(float(longest), 3)}
