"""Joint captions merged from the captions of the picture and of the sound, without claims that neither supports.

The call that merges gets both captions and no media: models invent sounds when they describe frames and sound at once,
and here there is nothing to describe. Each claim of the answer is then judged twice, from the frames alone and from the
sound alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.records import Claim, ModelCall
from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.claims import Clause, join_claims, split_claims
from pipeline.steps.caption_drafts import CaptionDraft, caption_fault

if TYPE_CHECKING:
    from ola.prompt import Request
    from pipeline.steps.caption import Captioning

PROCEDURE = 1  # version of how captions are merged and claims are split
PROMPTS = ("caption_merge", "caption_seen", "caption_heard")
UNSUPPORTED = "no claim is supported"
SOURCES: Mapping[str, str] = {"video": "picture", "sound": "sound"}  # view that is merged -> its name in the prompt


@dataclass(frozen=True)
class MergeInput:
    """The captions of one clip that are merged. name: id of the joint caption. asked, calls: by view."""

    name: str
    asked: Mapping[str, Request]
    calls: Mapping[str, ModelCall]

    def fault(self) -> CaptionDraft | None:
        """Return a draft that says which caption is missing, or None."""
        faults = {view: fault for view in SOURCES if (fault := caption_fault(self.calls[view]))}
        for view, fault in faults.items():
            call = self.calls[view]
            return CaptionDraft(call, "", f"no caption of the {SOURCES[view]} to merge: {fault}", call.answer)
        return None

    def request(self, longest: int) -> Request:
        """Return the request that merges both captions."""
        from ola.prompt import Request

        texts = {name: fence_text(name, self.calls[view].answer.strip()) for view, name in SOURCES.items()}
        return Request(fill_prompt("caption_merge", **texts), max_new_tokens=longest)

    def claim_requests(self, clauses: Sequence[Clause]) -> dict[str, Request]:
        """Return the requests for the probabilities of the claims, by name: first all about the picture."""
        from ola.prompt import Request

        texts = [fence_text("statement", each.text) for each in clauses]
        seen, heard = self.asked["video"].video, self.asked["sound"].sounds
        pictures = {f"{self.name}-{n}-picture": fill_prompt("caption_seen", claim=text) for n, text in enumerate(texts)}
        sounds = {f"{self.name}-{n}-sound": fill_prompt("caption_heard", claim=text) for n, text in enumerate(texts)}
        return {name: Request(text, video=seen) for name, text in pictures.items()} | {
            name: Request(text, sounds=heard) for name, text in sounds.items()
        }


def merge_captions(step: Captioning, inputs: Sequence[MergeInput]) -> dict[str, CaptionDraft]:
    """Return the joint captions by name."""
    drafts = {each.name: each.fault() for each in inputs}
    whole = [each for each in inputs if drafts[each.name] is None]
    calls = step.ask_model({each.name: each.request(step.settings.longest) for each in whole})
    clauses = {name: [] if caption_fault(call) else split_claims(call.answer) for name, call in calls.items()}
    judged = step.yes_probabilities(
        {name: asked for each in whole for name, asked in each.claim_requests(clauses[each.name]).items()}
    )
    merged = {name: _make_draft(step, name, call, clauses[name], judged) for name, call in calls.items()}
    return {name: draft or merged[name] for name, draft in drafts.items()}


def _make_draft(
    step: Captioning, name: str, call: ModelCall, clauses: Sequence[Clause], judged: Mapping[str, float]
) -> CaptionDraft:
    """Return a merged caption without its unsupported claims."""
    if fault := caption_fault(call):
        return CaptionDraft(call, "", fault, call.answer)
    claims = []
    for n, clause in enumerate(clauses):
        picture, sound = (judged[f"{name}-{n}-{sense}"] for sense in ("picture", "sound"))
        kept = max(picture, sound) >= step.settings.support
        claims.append(Claim(text=clause.text, picture=picture, sound=sound, kept=kept))
    text = join_claims(clauses, [each.kept for each in claims])
    raw = "; ".join(f"{each.text} (picture {each.picture:.2f}, sound {each.sound:.2f})" for each in claims)
    return CaptionDraft(call, text, None if text else UNSUPPORTED, raw, tuple(claims))
