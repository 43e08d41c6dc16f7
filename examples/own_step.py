"""A step of one's own: it takes clips, gives their lengths, and drops those that are too short.

python examples/own_step.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from manifests.records import Clip, Drop
from pipeline import step


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long a clip is, in ms."""

    id: str
    clip: str
    ms: int


class LengthSettings(step.Settings):
    """shortest: ms of a clip that is kept."""

    shortest: int = Field(default=1000, ge=0)


class MeasureLength(step.Step[Clip, Length]):
    """Measure a clip."""

    name, takes, gives = "length", Clip, Length
    settings_type = LengthSettings
    settings: LengthSettings

    def run(self, batch: Sequence[Clip]) -> list[list[Length] | Drop]:
        """One Length per clip; a drop for a short one."""
        return [self._measure(clip) for clip in batch]

    def _measure(self, clip: Clip) -> list[Length] | Drop:
        ms = clip.end_ms - clip.start_ms
        return Drop("too short") if ms < self.settings.shortest else [Length(id=clip.id, clip=clip.id, ms=ms)]


def main() -> None:
    """Run the step in this process: no engine, no files."""
    scores = {"motion": 1.0, "frozen": 0.0, "black": 0.0, "silence": None, "loudness": None}
    clips = [Clip(id=f"c{ms}", video="v", start_ms=0, end_ms=ms, **scores) for ms in (500, 2500)]  # type: ignore[arg-type]
    for clip, answer in zip(clips, MeasureLength().run(clips), strict=True):
        print(clip.id, answer)


if __name__ == "__main__":
    main()
