"""Step `caption`: describe a clip from its middle frame, all frames, its sound, or frames and sound.

All views of a clip share the same frames and the same sound, so that they are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from manifests.records import Caption, Drop, Footage, ModelCall
from pipeline import step
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.text_rules import answer_fault, is_other_language
from pipeline.errors import BadMedia
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from ola.prompt import Request

Kind = Literal["image", "video", "sound", "joint"]
HEARD = ("sound", "joint")  # kinds that a clip without sound cannot have


class CaptionSettings(step.Settings):
    """Which captions are written."""

    kinds: tuple[Kind, ...] = Field(default=("image", "video", "sound", "joint"), min_length=1)
    """What is described: the middle frame, all frames, the sound, or frames and sound together."""
    longest: int = Field(default=512, gt=0)
    """Most tokens of a caption."""


class Captioning(ModelStep[Footage, Caption]):
    """Describe a clip."""

    name, takes, gives = "caption", Footage, Caption
    version = 2  # 1 took any mention of a language model for a refusal, and knew two languages
    settings_type = CaptionSettings
    settings: CaptionSettings
    prompts = ("caption_image", "caption_video", "caption_sound", "caption_joint")

    def run(self, batch: Sequence[Footage]) -> list[list[Caption] | Drop | BadMedia]:
        """The captions of each clip. A failure where none of them can be used: empty, refused, cut off, foreign."""
        requests = [self._requests(footage) for footage in batch]
        said = self.ask({name: request for clip in requests for name, request in clip.items()})
        return [
            self._captions(footage, {view: said[caption_id(footage, view)] for view in self._views(footage)})
            for footage in batch
        ]

    def _views(self, footage: Footage) -> list[Kind]:
        return [kind for kind in self.settings.kinds if footage.sound is not None or kind not in HEARD]

    def _requests(self, footage: Footage) -> dict[str, Request]:
        from ola.prompt import Request

        frames, sound = self.pictures(footage), self.sound(footage)
        sounds = () if sound is None else (sound,)
        media: dict[str, dict[str, Any]] = {
            "image": {"images": (frames[len(frames) // 2],)},
            "video": {"video": frames},
            "sound": {"sounds": sounds},
            "joint": {"video": frames, "sounds": sounds},
        }
        longest = self.settings.longest
        return {
            caption_id(footage, view): Request(prompt(f"caption_{view}"), max_new_tokens=longest, **media[view])
            for view in self._views(footage)
        }

    def _captions(self, footage: Footage, said: dict[Kind, ModelCall]) -> list[Caption] | Drop | BadMedia:
        if not said:
            return Drop("no sound", f"for the captions in caption.kinds: {', '.join(self.settings.kinds)}")
        wrong = {view: flaw for view, asked in said.items() if (flaw := caption_fault(asked))}
        left_out = tuple(f"{view}: {flaw}: {said[view].answer}" for view, flaw in wrong.items())
        if len(wrong) == len(said):
            return BadMedia(f"no caption: {', '.join(dict.fromkeys(wrong.values()))}", "\n".join(left_out))
        return [
            Caption(
                id=caption_id(footage, view),
                clip=footage.clip,
                footage=footage.id,
                view=view,
                text=asked.answer.strip(),
                asked=asked,
                left_out=left_out,
            )
            for view, asked in said.items()
            if view not in wrong
        ]


def caption_id(footage: Footage, view: str) -> str:
    """Id of a caption."""
    return f"{footage.clip}-caption-{view}"


def caption_fault(asked: ModelCall) -> str | None:
    """Why an answer is no caption: a caption is whole, and in the language of its prompt."""
    wrong = answer_fault(asked.answer, asked.finish)
    return wrong or ("in another language than its prompt" if is_other_language(asked.answer, asked.prompt) else None)
