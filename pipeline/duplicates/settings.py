"""Settings of the search for near-duplicates. They change groups and splits, and rerun no step."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from pipeline import step

Preference = Literal["resolution", "subtitles", "length"]


class DedupSettings(step.Settings):
    """With what a run is compared, and which clip of a group of copies is the best."""

    against: tuple[str, ...] = ()
    """Roots of other runs and files of `ola hashes`, whose clips count as known."""
    prefer: tuple[Preference, ...] = ("resolution", "subtitles", "length")
    """What makes a clip the best of its group, the most important first; the first clip of equal ones."""

    @field_validator("prefer")
    @classmethod
    def _check_prefer(cls, prefer: tuple[Preference, ...]) -> tuple[Preference, ...]:
        if len(set(prefer)) != len(prefer):
            raise ValueError(f"expected each preference once, got {', '.join(prefer)}")
        return prefer
