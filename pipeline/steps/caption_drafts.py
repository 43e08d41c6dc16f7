"""A caption before it becomes a row: its text, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.records import Claim, ClipMedia, ModelCall
from pipeline.annotation.text_rules import answer_fault, is_other_language


@dataclass(frozen=True)
class CaptionDraft:
    """A caption of a view. call: that wrote it. fault: why it is no caption, or None. raw: what is kept of a fault."""

    call: ModelCall
    text: str
    fault: str | None
    raw: str
    claims: tuple[Claim, ...] = ()

    @classmethod
    def of(cls, call: ModelCall) -> CaptionDraft:
        """Take the answer of a call as it is."""
        return cls(call, call.answer.strip(), caption_fault(call), call.answer)


def caption_id(footage: ClipMedia, view: str) -> str:
    """Return the id of a caption."""
    return f"{footage.clip}-caption-{view}"


def caption_fault(call: ModelCall) -> str | None:
    """Return why an answer is no caption: it is cut off, or in another language than its prompt; or None."""
    faults = answer_fault(call.answer, call.finish)
    return faults or ("in another language than its prompt" if is_other_language(call.answer, call.prompt) else None)
