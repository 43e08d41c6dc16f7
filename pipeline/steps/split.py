"""Video in, Clips out: where to cut, and what each clip is like.

One cheap ffmpeg pass finds scene changes, frozen, black and silent spans and the loudness; clips end at scene changes,
preferably in a pause of the sound, and are never longer than one chunk of Ola's hearing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from manifests.records import Clip, Drop, Video
from pipeline import step
from pipeline.media import cuts
from pipeline.media.original import original
from pipeline.media.scan import Scan, scan, scores


class SplitSettings(step.Settings):
    """shortest, longest: seconds of a clip. 30 s is one audio chunk of Ola; under 2 s there is little to say."""

    shortest: float = Field(default=2.0, gt=0)
    longest: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _room_to_cut(self) -> SplitSettings:
        if self.longest < 2 * self.shortest:
            raise ValueError(f"longest ({self.longest} s) must be at least twice shortest ({self.shortest} s)")
        return self


class Split(step.Step[Video, Clip]):
    """Cut a video into clips with scores."""

    name, takes, gives = "split", Video, Clip
    settings_type = SplitSettings
    settings: SplitSettings

    def allowance(self, record: Video) -> float:
        """The pass runs at 20 times the speed of play for 720p on one core; 8K is up to 80 times slower."""
        return 4 * record.duration

    def originals(self, record: Video) -> str:
        """The video."""
        return record.uri

    def run(self, batch: Sequence[Video]) -> list[list[Clip] | Drop]:
        """Clips that cover the whole video, or a drop if it is too short for one. Raises ScanError."""
        return [self._clips(video) for video in batch]

    def _clips(self, video: Video) -> list[Clip] | Drop:
        if video.duration < self.settings.shortest:
            detail = f"{video.duration:.2f} s; the limit is {self.settings.shortest} s"
            return Drop("shorter than split.shortest", detail)
        seen = scan(original(video, self.scratch), duration=video.duration, sound=video.sound)
        return [
            Clip(
                id=f"{video.id}-{start:09d}-{end:09d}",
                video=video.id,
                start_ms=start,
                end_ms=end,
                **measured(seen, start, end),
            )
            for start, end in cuts.plan(seen, self.settings.shortest, self.settings.longest)
        ]


def measured(seen: Scan, start: int, end: int) -> dict[str, Any]:
    """The scores of a span in ms, as fields of a Clip."""
    return dict(scores(seen, start / 1000, end / 1000))
