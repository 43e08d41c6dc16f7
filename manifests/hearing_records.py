"""The record of step `hear`: what is heard in a clip, as spans of speech, music and sound events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundSpan:
    """A stretch of time in which a sound is heard. Spans may overlap: speech over music gives one of each."""

    kind: str
    """`speech`, `music` or `event`."""
    label: str
    """Display name of the AudioSet class, as `Speech`, `Piano` or `Siren`."""
    start: float
    """Seconds from the start of the clip."""
    end: float
    """Seconds from the start of the clip."""
    score: float
    """Highest score in the span of a class that names this sound, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Spans of sounds in a clip, and the shares of its time that they take.

    Without a sound track there are no spans, and the shares are null.
    """

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    footage: str
    """Id of the clip's stored media."""
    spans: tuple[SoundSpan, ...]
    """Sounds in the order of their start."""
    speech: float | None = None
    """Share of the time with speech, 0..1."""
    music: float | None = None
    """Share of the time with music or singing, 0..1."""
    events: float | None = None
    """Share of the time with a sound event that is neither, 0..1."""
    sound_kind: str | None = None
    """Kind with the largest share: `speech`, `music` or `event`; `none` if no sound was recognised."""
    sound_event: str | None = None
    """Label of the sound event that is heard longest in all; null without sound events."""
