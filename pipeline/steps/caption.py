"""Step `caption`: describe a clip from its middle frame, all frames, its sound, or frames and sound.

All views of a clip share its loaded video and sound, so that these are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from manifests.records import Caption, ClipMedia, Drop, ModelCall
from pipeline import step
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.text_rules import answer_fault, is_other_language
from pipeline.errors import BadMedia
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from ola.prompt import Request

Kind = Literal["image", "video", "sound", "joint"]
NEEDS_SOUND = ("sound", "joint")  # kinds that a clip without sound cannot have


class CaptionSettings(step.Settings):
    """Which captions are written."""

    kinds: tuple[Kind, ...] = Field(default=("image", "video", "sound", "joint"), min_length=1)
    """What is described: the middle frame, all frames, the sound, or frames and sound together."""
    longest: int = Field(default=512, gt=0)
    """Most tokens of a caption."""


class Captioning(ModelStep[ClipMedia, Caption]):
    """Describe a clip."""

    name, takes, gives = "caption", ClipMedia, Caption
    version = 2  # 1 took any mention of a language model for a refusal, and knew two languages
    settings_type = CaptionSettings
    settings: CaptionSettings
    prompts = ("caption_image", "caption_video", "caption_sound", "caption_joint")

    def run(self, batch: Sequence[ClipMedia]) -> list[list[Caption] | Drop | BadMedia]:
        """Return the captions of each clip; a failure where all are empty, refused, cut off or in another language."""
        requests = [self._make_requests(footage) for footage in batch]
        calls = self.ask_model({name: request for clip in requests for name, request in clip.items()})
        return [
            self._make_captions(footage, {view: calls[caption_id(footage, view)] for view in self._views(footage)})
            for footage in batch
        ]

    def _views(self, footage: ClipMedia) -> list[Kind]:
        return [kind for kind in self.settings.kinds if footage.sound is not None or kind not in NEEDS_SOUND]

    def _make_requests(self, footage: ClipMedia) -> dict[str, Request]:
        from ola.prompt import Request

        clip = self.load(footage)
        sounds = () if clip.sound is None else (clip.sound,)
        media: dict[str, dict[str, Any]] = {
            "image": {"images": (clip.image,)},
            "video": {"video": clip.video},
            "sound": {"sounds": sounds},
            "joint": {"video": clip.video, "sounds": sounds},
        }
        longest = self.settings.longest
        return {
            caption_id(footage, view): Request(prompt(f"caption_{view}"), max_new_tokens=longest, **media[view])
            for view in self._views(footage)
        }

    def _make_captions(self, footage: ClipMedia, calls: dict[Kind, ModelCall]) -> list[Caption] | Drop | BadMedia:
        if not calls:
            return Drop("no sound", f"for the captions in caption.kinds: {', '.join(self.settings.kinds)}")
        faults = {view: flaw for view, call in calls.items() if (flaw := caption_fault(call))}
        left_out = tuple(f"{view}: {flaw}: {calls[view].answer}" for view, flaw in faults.items())
        if len(faults) == len(calls):
            return BadMedia(f"no caption: {', '.join(dict.fromkeys(faults.values()))}", "\n".join(left_out))
        return [
            Caption(
                id=caption_id(footage, view),
                clip=footage.clip,
                footage=footage.id,
                view=view,
                text=call.answer.strip(),
                asked=call,
                left_out=left_out,
                made_by=self.made_by,
            )
            for view, call in calls.items()
            if view not in faults
        ]


def caption_id(footage: ClipMedia, view: str) -> str:
    """Return the id of a caption."""
    return f"{footage.clip}-caption-{view}"


def caption_fault(call: ModelCall) -> str | None:
    """Return why an answer is no caption: it is cut off, or in another language than its prompt; or None."""
    faults = answer_fault(call.answer, call.finish)
    return faults or ("in another language than its prompt" if is_other_language(call.answer, call.prompt) else None)
