"""Step `ingest`: find out whether a source is a video, and read its digest and its streams.

Reads every byte once for the digest that is the video's id, and probes sources that are no exact copy of another.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from pydantic import Field

from manifests.records import REMOVED, Drop, Source, Video
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.media.probe import Facts, probe
from pipeline.media.video_file import changed_error, fetch_video, join_separate_sound, sha256_of, video_id
from pipeline.sources.containers import access
from pipeline.sources.containers.long_meta import KEY, read_whole
from pipeline.sources.containers.members import is_unmeasured
from pipeline.sources.metadata import meta_of

LARGEST_ROW = 1 << 31  # bytes of a value in a row of a table, whose size is unknown before it is read
READ_RATE = 5e6  # bytes a second of a slow network disk; a slower read counts as hanging


class IngestSettings(step.Settings):
    """Which videos are accepted."""

    max_pixels: int = Field(default=8192 * 4320, gt=0)
    """Videos with more pixels in a frame are dropped; the default admits 8K."""
    min_side: int = Field(default=32, gt=0)
    """Videos whose shorter side has fewer pixels are dropped."""


class Ingest(step.Step[Source, Video]):
    """Probe and digest; drop exact copies."""

    name, takes, gives = "ingest", Source, Video
    version = 2  # 1 knew one clock a file, and no gaps, colours, mirrors, fields or default streams
    settings_type = IngestSettings
    settings: IngestSettings
    resources = step.Resources(memory_gb=2.0)  # one frame of 8K with its references stays under 1 GB

    def allowance(self, record: Source) -> float:
        """Return seconds for reading the file."""
        return (LARGEST_ROW if is_unmeasured(record) else record.bytes or record.read_bytes) / READ_RATE

    def original_uri(self, record: Source) -> str:
        """Return the URI of the source: ingest reads all of it."""
        return record.uri

    def run(self, batch: Sequence[Source]) -> list[list[Video] | Drop]:
        """Return a Video or a drop per source. Raises BadMedia for files that are no video, OSError if unreadable."""
        return [self._probe_source(source) for source in batch]

    def _probe_source(self, source: Source) -> list[Video] | Drop:
        if source.removed:
            return Drop(REMOVED)
        if source.fault is not None:
            raise BadMedia(source.fault)
        if source.twin is not None and source.sha256 is not None:
            return Drop(f"duplicate of {video_id(source.sha256)}", f"the same bytes as {source.twin}")
        path = fetch_video(source.uri, self.scratch, source.bytes, source.stamp)
        sha256, size = sha256_of(path), os.path.getsize(path)
        if not size:
            raise BadMedia("empty file")
        if source.stamp not in ("", access.stamp_of(source.uri, self.scratch)):
            raise changed_error(source.uri)
        facts = probe(path)
        if facts is None:
            return Drop("no moving picture", "the file has sound, text or a cover, but no moving picture")
        apart = "" if facts.sounds else source.apart
        facts = (probe(join_separate_sound(path, apart, self.scratch)) if apart else facts) or facts
        return self._check_limits(facts) or [
            Video(
                id=video_id(sha256),
                source=source.id,
                uri=source.uri,
                bytes=size,
                sha256=sha256,
                sidecars=source.sidecars,
                meta=meta_of(replace(source, meta=self._full_meta(source))),
                stamp=source.stamp,
                spans=source.spans,
                apart=apart,
                **video_fields(facts),
            )
        ]

    def _full_meta(self, source: Source) -> str:
        return read_whole(source.meta, self.root) if KEY in source.meta else source.meta

    def _check_limits(self, facts: Facts) -> Drop | None:
        shape = f"{facts.coded_width}x{facts.coded_height}"
        if facts.coded_width * facts.coded_height > self.settings.max_pixels:
            return Drop("picture too large", f"{shape}; ingest.max_pixels is {self.settings.max_pixels}")
        if min(facts.coded_width, facts.coded_height) < self.settings.min_side:
            return Drop("picture too small", f"{shape}; ingest.min_side is {self.settings.min_side}")
        if facts.duration <= 0:
            return Drop("zero duration")
        return None


def video_fields(facts: Facts) -> dict[str, Any]:
    """Return the facts as fields of a Video."""
    nested = ("sounds", "subtitles", "pieces", "gaps")
    return {**asdict(facts), **{name: getattr(facts, name) for name in nested}}
