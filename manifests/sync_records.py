"""The record of step `sync`: how well the picture and the sound of a clip agree in time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSync:
    """How well changes of the picture and beginnings of sounds agree in time.

    Scores are null without a sound track, and where fewer than four events are seen or heard.
    """

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    av_sync: float | None = None
    """Correlation of what is seen and heard to happen, at lags up to 0.2 s, -1..1. Low where the sound is shifted or
    belongs to another film, and where what is heard is not seen, such as music over pictures."""
    av_lag_ms: int | None = None
    """Lag with the highest correlation, in ms, -3000..3000; positive where the sound comes after the picture."""
    av_peak: float | None = None
    """Correlation at that lag, -1..1. Where it is low, the lag tells nothing."""
    seen_events: int | None = None
    """Moments at which the picture changes. Null without a sound track."""
    heard_events: int | None = None
    """Moments at which something begins to sound. Null without a sound track."""
