"""Records of texts that a model wrote and then judged. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A clause of a merged caption, with the probabilities that its clip supports it."""

    text: str
    """The clause."""
    picture: float
    """Probability that the frames alone support it, 0..1."""
    sound: float
    """Probability that the sound alone supports it, 0..1."""
    kept: bool
    """Whether it is part of the caption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distractor:
    """A wrong option of a multiple choice that the model proposed, used or not."""

    text: str
    """The option as proposed."""
    flaw: str
    """Why it is not used; empty if it is an option of the question, `spare` if enough others are."""
    present: float | None = None
    """Probability that it is seen or heard in the clip, 0..1; null if the model was not asked."""
    agreement: float | None = None
    """Probability that it answers the question, too, 0..1; null if the model was not asked."""
