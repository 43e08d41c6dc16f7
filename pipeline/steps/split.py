"""Step `split`: cut a video into clips, and score each clip.

One cheap ffmpeg pass finds scene changes, frozen, black and silent spans and the loudness. Clips end at scene changes,
preferably in a pause of the sound, and are at most one chunk of Ola's audio encoder long.
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
from pipeline.media.extraction import build_index, index_packets
from pipeline.media.libav_errors import translate_libav_errors
from pipeline.media.recordings import Recording, list_recordings, spans_between_gaps
from pipeline.media.safety import open_container
from pipeline.media.scan import Scan, scan_video, span_scores
from pipeline.media.video_file import fetch_original

HALF_MS = 0.0005  # seconds; a clip's times are whole milliseconds


class SplitSettings(step.Settings):
    """How long clips are."""

    shortest: float = Field(default=2.0, gt=0)
    """Fewest seconds of a clip; under 2 s there is little to say."""
    longest: float = Field(default=30.0, gt=0)
    """Most seconds of a clip, at least twice `shortest`; 30 s is one audio chunk of Ola."""

    @model_validator(mode="after")
    def _check_lengths(self) -> SplitSettings:
        if self.longest < 2 * self.shortest:
            raise ValueError(
                f"expected longest to be at least {2 * self.shortest} s, twice shortest, got {self.longest} s"
            )
        return self


class Split(step.Step[Video, Clip]):
    """Cut a video into clips with scores."""

    name, takes, gives = "split", Video, Clip
    version = 2  # 1 cut across gaps and did not count frames
    settings_type = SplitSettings
    settings: SplitSettings

    def allowance(self, record: Video) -> float:
        """Return 4 s per second of video: a scan of 8K may run at a quarter of play speed."""
        return 4 * record.duration

    def original_uri(self, record: Video) -> str:
        """Return the URI of the video: split reads all of it."""
        return record.uri

    def run(self, batch: Sequence[Video]) -> list[list[Clip] | Drop]:
        """Return the clips of each video, without its gaps, or the listed spans; a Drop for a video without clips.

        Raises ScanError.
        """
        with translate_libav_errors():
            return [self._split_video(video) for video in batch]

    def _split_video(self, video: Video) -> list[Clip] | Drop:
        if not video.spans and video.duration < self.settings.shortest:
            detail = f"{video.duration:.2f} s; the limit is {self.settings.shortest} s"
            return Drop("shorter than split.shortest", detail)
        path = fetch_original(video, self.scratch)
        found = list_recordings(path, video)
        starts = [0, *(recording.start_ms for recording in found[1:]), sys.maxsize]
        named = [[s for s in video.spans if a <= s.start_ms < b] for a, b in pairwise(starts)]
        clips = [
            clip
            for recording, spans in zip(found, named, strict=True)
            if spans or not video.spans
            for clip in self._split_recording(recording, spans)
        ]
        if not clips:
            return Drop("shorter than split.shortest", f"between its gaps; the limit is {self.settings.shortest} s")
        return clips

    def _split_recording(self, recording: Recording, named: Sequence[Span]) -> list[Clip]:
        video: Video = recording.video
        scan = scan_video(recording.local, duration=video.duration, sound=video.sound, picture=video.picture)
        shown = display_times(recording.local, video.picture)
        return [
            Clip(
                id=f"{video.id}-{recording.start_ms + start:09d}-{recording.start_ms + end:09d}",
                video=video.id,
                start_ms=recording.start_ms + start,
                end_ms=recording.start_ms + end,
                meta=meta,
                **clip_scores(scan, shown, start, end),
            )
            for start, end, meta in listed_spans(recording, named) or self._plan_spans(scan, spans_between_gaps(video))
        ]

    def _plan_spans(self, scan: Scan, between: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
        """Return the clips of each stretch between gaps, in ms."""
        spans = []
        for first, last in between:
            inner = scan if len(between) == 1 else clip_boundaries.crop_scan(scan, first / 1000, last / 1000)
            planned = clip_boundaries.plan_clips(inner, self.settings.shortest, self.settings.longest)
            spans += [(first + start, first + end, "{}") for start, end in planned]
        return spans


def listed_spans(recording: Recording, spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """Return start and end in ms on the recording's clock, and metadata, of listed spans, cut at its end."""
    last = round(recording.video.duration * 1000)
    clips = [(span.start_ms - recording.start_ms, span.end_ms - recording.start_ms, span.meta) for span in spans]
    # a span after the end stays, so that it gets a row: `extract` drops it
    return [(start, min(end, last) if start < last else end, meta) for start, end, meta in clips]


def display_times(local: Local, picture: int) -> NDArray[np.float64]:
    """Return when each picture of a stream is shown, in seconds from the start of the file, ascending."""
    index = index_packets(local, picture)
    if len(np.unique(index.stamps)) < len(index.stamps):  # the packets have no display times
        index = build_index(local, picture)
    with open_container(local) as container:
        return np.asarray(index.shown * index.tick - start_of(container), dtype=np.float64)


def clip_scores(scan: Scan, shown: NDArray[np.float64], start: int, end: int) -> dict[str, Any]:
    """Return the scores of a span in ms, as fields of a Clip. shown: when each picture begins, in seconds."""
    first, last = np.searchsorted(shown, (start / 1000 - HALF_MS, end / 1000 - HALF_MS))
    new = [start / 1000, *shown[first:last], end / 1000]
    longest = max(after - before for before, after in pairwise(new))
    scored = span_scores(scan, start / 1000, end / 1000)
    return {**scored, "frames": int(last - first), "longest_gap": round(float(longest), 3)}
