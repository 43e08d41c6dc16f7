"""Step `caption`: describe a clip from its middle frame, all frames, its sound, or frames and sound.

All views of a clip share its loaded video and sound, so that these are encoded once. With `caption.joint=merged` the
caption of frames and sound is merged from those of each alone (`pipeline.steps.merged_captions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from manifests.records import Caption, ClipMedia, Drop
from pipeline import step
from pipeline.annotation.annotator import ModelStep
from pipeline.errors import BadMedia
from pipeline.prompts import prompt
from pipeline.steps.caption_drafts import CaptionDraft, caption_id
from pipeline.steps.merged_captions import PROCEDURE, PROMPTS, SOURCES, UNSUPPORTED, MergeInput, merge_captions

if TYPE_CHECKING:
    from manifests.records import ModelCall
    from ola.prompt import Request

Kind = Literal["image", "video", "sound", "joint"]
NEEDS_SOUND = ("sound", "joint")  # kinds that a clip without sound cannot have


class CaptionSettings(step.Settings):
    """Which captions are written."""

    kinds: tuple[Kind, ...] = Field(default=("image", "video", "sound", "joint"), min_length=1)
    """What is described: the middle frame, all frames, the sound, or frames and sound together."""
    longest: int = Field(default=512, gt=0)
    """Most tokens of a caption."""
    joint: Literal["direct", "merged"] = "direct"
    """How the caption of frames and sound is made: by one request (`direct`), or `merged` from the captions of the
    frames and of the sound, without claims that neither supports."""
    support: float = Field(default=0.5, gt=0, le=1)
    """Lowest probability, from the frames or from the sound, of a claim that stays in a merged caption."""


class Captioning(ModelStep[ClipMedia, Caption]):
    """Describe a clip."""

    name, takes, gives = "caption", ClipMedia, Caption
    version = 2  # 1 took any mention of a language model for a refusal, and knew two languages
    settings_type = CaptionSettings
    settings: CaptionSettings
    prompts = ("caption_image", "caption_video", "caption_sound", "caption_joint")

    @property
    def merges(self) -> bool:
        """Whether joint captions are merged."""
        return self.settings.joint == "merged" and "joint" in self.settings.kinds

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step; without merged captions those of a version that knew none."""
        facts = super().facts()
        if not self.merges:
            direct = {name: each for name, each in facts["settings"].items() if name not in ("joint", "support")}
            return {**facts, "settings": direct}
        return {**facts, "merge_prompts": {name: prompt(name) for name in PROMPTS}, "procedure": PROCEDURE}

    def run(self, batch: Sequence[ClipMedia]) -> list[list[Caption] | Drop | BadMedia]:
        """Return the captions of each clip; a failure where all are empty, refused, cut off or in another language."""
        requests = [self._make_requests(footage) for footage in batch]
        calls = self.ask_model({name: request for clip in requests for name, request in clip.items()})
        drafts = {name: CaptionDraft.of(call) for name, call in calls.items()}
        if self.merges:
            inputs = [
                (footage, each)
                for footage, each in zip(batch, requests, strict=True)
                if "joint" in self._views(footage)
            ]
            drafts |= merge_captions(self, [self._merge_input(*each, calls) for each in inputs])
        return [
            self._make_captions(footage, {view: drafts[caption_id(footage, view)] for view in self._views(footage)})
            for footage in batch
        ]

    def _merge_input(
        self, footage: ClipMedia, requests: Mapping[str, Request], calls: Mapping[str, ModelCall]
    ) -> MergeInput:
        names = {view: caption_id(footage, view) for view in SOURCES}
        return MergeInput(
            caption_id(footage, "joint"),
            {view: requests[name] for view, name in names.items()},
            {view: calls[name] for view, name in names.items()},
        )

    def _views(self, footage: ClipMedia) -> list[Kind]:
        return [kind for kind in self.settings.kinds if footage.sound is not None or kind not in NEEDS_SOUND]

    def _described(self, footage: ClipMedia) -> list[str]:
        """Return the views that the model describes: for a merged caption those that are merged instead."""
        views = list[str](self._views(footage))
        if not self.merges or "joint" not in views:
            return views
        return [view for view in dict.fromkeys((*views, *SOURCES)) if view != "joint"]

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
            for view in self._described(footage)
        }

    def _make_captions(
        self, footage: ClipMedia, drafts: Mapping[Kind, CaptionDraft]
    ) -> list[Caption] | Drop | BadMedia:
        if not drafts:
            return Drop("no sound", f"for the captions in caption.kinds: {', '.join(self.settings.kinds)}")
        faults = {view: draft.fault for view, draft in drafts.items() if draft.fault}
        left_out = tuple(f"{view}: {fault}: {drafts[view].raw}" for view, fault in faults.items())
        if len(faults) == len(drafts):
            reason, detail = f"no caption: {', '.join(dict.fromkeys(faults.values()))}", "\n".join(left_out)
            return Drop(reason, detail) if set(faults.values()) == {UNSUPPORTED} else BadMedia(reason, detail)
        return [
            Caption(
                id=caption_id(footage, view),
                clip=footage.clip,
                footage=footage.id,
                view=view,
                text=draft.text,
                asked=draft.call,
                left_out=left_out,
                made_by=self.made_by,
                claims=draft.claims,
            )
            for view, draft in drafts.items()
            if view not in faults
        ]
