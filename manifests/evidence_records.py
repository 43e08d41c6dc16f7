"""Record of the spans of a clip that a question rests on. Import it from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSpan:
    """A clue: what is seen or heard in a span of a clip."""

    sense: str
    """`seen` or `heard`."""
    start: float
    """Start, in seconds on the clip's clock."""
    end: float
    """End, in seconds on the clip's clock."""
    text: str
    """What is seen or heard, in the words of the model or of the transcript."""
