"""Merged captions: made of those of picture and sound, and without claims that neither supports."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Caption, Claim, ClipMedia, Drop
from ola.prompt import Request
from pipeline.config import Config
from pipeline.errors import BadMedia
from pipeline.prompts import prompt
from pipeline.steps.caption import Captioning, CaptionSettings
from tests.pipeline.scripted import Scripted, footage, inside, obeys, prompt_of, ready
from tests.pipeline.test_screen import ATTACKS

SEEN, HEARD = "A cook stands at a stove.", "A kettle whistles."
MERGED = "A cook stands at a stove while a kettle whistles, then a dog barks twice. A choir sings softly."
REPLIES = {"caption_video": SEEN, "caption_sound": HEARD, "caption_merge": MERGED}
SUPPORT = {"A cook stands at a stove": (0.9, 0.1), "a kettle whistles": (0.2, 0.8)}


def judged(request: Request) -> float:
    """What the model says of a claim by one sense; of unknown claims no."""
    sense = 0 if prompt_of(request) == "caption_seen" else 1
    return SUPPORT.get(inside(request.text)["statement"], (0.1, 0.2))[sense]


def merged(
    root: Path, *clips: ClipMedia, replies: dict[str, Any] | None = None, notes: str = "", **settings: Any
) -> tuple[list[Any], Scripted]:
    """What becomes of clips with merged captions."""
    step = Captioning(CaptionSettings(joint="merged", **settings))
    model = ready(step, root, notes)
    said = {"caption_image": SEEN, **REPLIES, **(replies or {})}
    model.reply, model.judged = lambda request: said[prompt_of(request)], judged
    return list(step.run(clips)), model


def test_claims_that_neither_sense_supports_are_taken_out_and_stay_in_the_row(tmp_path: Path) -> None:
    (captions,), model = merged(tmp_path, footage(tmp_path))
    assert [each.view for each in captions] == ["image", "video", "sound", "joint"]
    joint: Caption = captions[3]
    assert joint.text == "A cook stands at a stove while a kettle whistles."
    assert joint.claims == (
        Claim(text="A cook stands at a stove", picture=0.9, sound=0.1, kept=True),
        Claim(text="a kettle whistles", picture=0.2, sound=0.8, kept=True),
        Claim(text="a dog barks twice", picture=0.1, sound=0.2, kept=False),
        Claim(text="A choir sings softly", picture=0.1, sound=0.2, kept=False),
    )
    assert (joint.id, joint.asked.answer, joint.left_out) == ("clip-caption-joint", MERGED, ())
    assert all(each.claims == () for each in captions[:3])
    assert model.names() == {"caption_image": 1, "caption_video": 1, "caption_sound": 1, "caption_merge": 1}


def test_the_merging_call_reads_both_captions_and_no_media_and_the_judge_one_sense(tmp_path: Path) -> None:
    _, model = merged(tmp_path, footage(tmp_path))
    by_name = {prompt_of(request): request for request in model.asked}
    assert inside(by_name["caption_merge"].text) == {"picture": SEEN, "sound": HEARD}
    assert (by_name["caption_merge"].video, list(by_name["caption_merge"].sounds)) == (None, [])
    assert Counter(map(prompt_of, model.chosen)) == {"caption_seen": 4, "caption_heard": 4}
    for request in model.chosen:
        seen = prompt_of(request) == "caption_seen"
        assert request.video is (by_name["caption_video"].video if seen else None)
        assert [id(sound) for sound in request.sounds] == ([] if seen else [id(by_name["caption_sound"].sounds[0])])


@pytest.mark.parametrize(
    ("support", "text"),
    [
        (0.01, MERGED),
        (0.85, "A cook stands at a stove."),
        (0.9, "A cook stands at a stove."),
        (0.2, MERGED),
        (0.21, "A cook stands at a stove while a kettle whistles."),
    ],
)
def test_support_is_the_least_probability_of_either_sense(tmp_path: Path, support: float, text: str) -> None:
    (captions,), _ = merged(tmp_path, footage(tmp_path), support=support)
    assert captions[3].text == text


def test_of_a_caption_without_supported_claims_nothing_is_kept(tmp_path: Path) -> None:
    clip = footage(tmp_path)
    (captions,), _ = merged(tmp_path, clip, support=0.95)
    assert [each.view for each in captions] == ["image", "video", "sound"]
    assert (
        captions[0]
        .left_out[0]
        .startswith("joint: no claim is supported: A cook stands at a stove (picture 0.90, sound 0.10); a kettle")
    )
    (drop,), model = merged(tmp_path, clip, support=0.95, kinds=("joint",))
    assert isinstance(drop, Drop)
    assert drop.reason == "no caption: no claim is supported"
    assert "a dog barks twice (picture 0.10, sound 0.20)" in str(drop.detail)
    assert model.names() == {"caption_video": 1, "caption_sound": 1, "caption_merge": 1}


def test_captions_that_are_merged_need_not_be_kept(tmp_path: Path) -> None:
    (captions,), model = merged(tmp_path, footage(tmp_path), kinds=("joint",))
    assert [each.view for each in captions] == ["joint"]
    assert model.names() == {"caption_video": 1, "caption_sound": 1, "caption_merge": 1}


def test_a_clip_without_sound_has_nothing_to_merge(tmp_path: Path) -> None:
    silent = footage(tmp_path, seconds=None)
    (captions,), model = merged(tmp_path, silent)
    assert [each.view for each in captions] == ["image", "video"]
    assert (model.names(), model.chosen) == ({"caption_image": 1, "caption_video": 1}, [])
    (drop,), _ = merged(tmp_path, silent, kinds=("joint",))
    assert drop == Drop("no sound", "for the captions in caption.kinds: joint")


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ({"caption_sound": "I cannot hear anything."}, "no caption of the sound to merge: refused"),
        ({"caption_video": ""}, "no caption of the picture to merge: empty"),
        ({"caption_merge": (MERGED, "length")}, "cut off"),
        ({"caption_merge": "一位厨师站在炉子旁。"}, "in another language than its prompt"),
        ({"caption_merge": "?!"}, "empty"),
    ],
)
def test_what_cannot_be_merged_is_named(tmp_path: Path, replies: dict[str, Any], reason: str) -> None:
    clip = footage(tmp_path)
    (captions,), model = merged(tmp_path, clip, replies=replies)
    assert "joint" not in [each.view for each in captions]
    assert [each for each in captions[0].left_out if each.startswith(f"joint: {reason}: ")]
    assert not model.chosen
    (answer,), _ = merged(tmp_path, clip, replies=replies, kinds=("joint",))
    assert isinstance(answer, BadMedia)
    assert str(answer) == f"no caption: {reason}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_neither_a_caption_nor_a_claim_is_an_instruction(tmp_path: Path, attack: str) -> None:
    replies = {"caption_video": f"{SEEN} {attack}", "caption_sound": HEARD, "caption_merge": f"{SEEN} {attack}"}
    _, model = merged(tmp_path, footage(tmp_path), replies=replies)
    assert model.chosen
    assert not any(obeys(request.text) for request in (*model.asked, *model.chosen))


class Killed(BaseException):
    """What a test ends a worker with."""


def test_an_interrupted_step_asks_nothing_twice_and_gives_the_same_rows(tmp_path: Path) -> None:
    notes, clips = str(tmp_path / "notes"), [footage(tmp_path, f"clip{n}", seed=n) for n in range(3)]
    whole, _ = merged(tmp_path, *clips)
    step = Captioning(CaptionSettings(joint="merged"))
    model = ready(step, tmp_path, notes)
    merges = iter((MERGED, MERGED))

    def dies_at_the_third_merge(request: Request) -> str:
        name = prompt_of(request)
        if name == "caption_merge" and (text := next(merges, "")) == "":
            raise Killed(text)
        return {"caption_image": SEEN, **REPLIES}[name]

    model.reply, model.judged = dies_at_the_third_merge, judged
    with pytest.raises(Killed):
        step.run(clips)
    again, second = merged(tmp_path, *clips, notes=notes)
    assert again == whole
    assert second.names() == {"caption_merge": 1}
    once_more, third = merged(tmp_path, *clips, notes=notes)
    assert (once_more, third.asked, third.chosen) == (whole, [], [])


def test_direct_captions_keep_their_key(tmp_path: Path) -> None:
    direct = Captioning().facts()
    assert set(direct["settings"]) == {"kinds", "longest"}
    assert not {"merge_prompts", "procedure"} & direct.keys()
    unused = Captioning(CaptionSettings(joint="merged", support=0.7, kinds=("video",))).facts()
    assert set(unused["settings"]) == {"kinds", "longest"}
    facts = Captioning(CaptionSettings(joint="merged")).facts()
    assert facts["settings"]["support"] == 0.5
    assert set(facts["merge_prompts"]) == {"caption_merge", "caption_seen", "caption_heard"}
    model = ready(step := Captioning(), tmp_path)
    step.run([footage(tmp_path)])
    assert [request.text for request in model.asked] == [
        prompt(f"caption_{view}") for view in ("image", "video", "sound", "joint")
    ]


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"joint": "both"}, {"support": 0.0}, {"support": 1.1}):
        with pytest.raises(ValueError, match="caption"):
            Config.model_validate({"caption": wrong})
