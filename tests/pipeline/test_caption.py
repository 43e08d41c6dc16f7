"""Caption: requested views from shared media; unusable answers end in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from manifests.records import Caption, ClipMedia, Drop
from pipeline.errors import BadMedia
from pipeline.steps.caption import Captioning, CaptionSettings
from tests.ola import tiny
from tests.pipeline.scripted import CAPTION, Scripted, footage, prompt_of, ready

ALL = ["image", "video", "sound", "joint"]


def captioned(root: Path, *clips: ClipMedia, reply: Any = None, **settings: Any) -> tuple[list[Any], Scripted]:
    step = Captioning(CaptionSettings(**settings))
    model = ready(step, root)
    model.reply = reply or model.reply
    return step.run(clips), model


def weights(folder: Path) -> Path:
    """The tiny Ola, as a folder."""
    from ola.processor import OlaProcessor

    model = tiny.model()
    model.save_pretrained(folder)
    OlaProcessor(tiny.tokenizer(), model.config).save_pretrained(folder)
    return folder


def test_four_views_in_one_call(tmp_path: Path) -> None:
    clips = [footage(tmp_path, f"clip{n}", seed=n) for n in range(2)]
    answers, model = captioned(tmp_path, *clips)
    assert [[caption.view for caption in answer] for answer in answers] == [ALL, ALL]
    first = answers[0][1]
    assert isinstance(first, Caption)
    assert (first.id, first.clip, first.footage, first.text) == ("clip0-caption-video", "clip0", "clip0", CAPTION)
    assert (first.asked.answer, first.asked.finish) == (CAPTION, "stop")
    assert model.calls == 1


def test_views_share_their_media(tmp_path: Path) -> None:
    _, model = captioned(tmp_path, footage(tmp_path, frames=5))
    image, video, sound, joint = model.asked
    frames = cast("list[Any]", video.video)
    assert frames is joint.video
    assert len(frames) == 5
    assert list(image.images) == [frames[2]]
    assert sound.sounds[0] is joint.sounds[0]
    assert (image.video, sound.video, list(video.sounds)) == (None, None, [])


def test_a_clip_without_sound_has_the_views_that_are_seen(tmp_path: Path) -> None:
    silent = footage(tmp_path, seconds=None)
    answers, _ = captioned(tmp_path, silent)
    assert [caption.view for caption in answers[0]] == ["image", "video"]
    answers, model = captioned(tmp_path, silent, kinds=("sound", "joint"))
    assert answers == [Drop("no sound", "for the captions in caption.kinds: sound, joint")]
    assert not model.asked


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("I cannot hear anything.", "refused"),
        (("and then he walks and then", "length"), "cut off"),
        ("厨房里有一位厨师在说话", "in another language than its prompt"),
        ("Der Koch ist in der Küche und spricht mit dem Kessel.", "in another language than its prompt"),
    ],
)
def test_captions_that_cannot_be_used(tmp_path: Path, reply: Any, reason: str) -> None:
    clip = footage(tmp_path)
    (answer,), _ = captioned(tmp_path, clip, reply=lambda _: reply)
    assert isinstance(answer, BadMedia)
    raw = reply if isinstance(reply, str) else reply[0]
    assert str(answer) == f"no caption: {reason}"
    assert answer.detail == "\n".join(f"{view}: {reason}: {raw}" for view in ALL)
    (answer,), _ = captioned(tmp_path, clip, reply=lambda r: reply if prompt_of(r) == "caption_sound" else CAPTION)
    assert [caption.view for caption in answer] == ["image", "video", "joint"]
    assert answer[0].left_out == (f"sound: {reason}: {raw}",)


def test_ola_itself_encodes_a_clip_once(tmp_path: Path) -> None:
    folder = weights(tmp_path / "model")
    step = Captioning(CaptionSettings(longest=4))
    model: Any = ready(step, tmp_path, engine="torch", model=str(folder))
    clips = [footage(tmp_path, f"clip{n}", seed=n) for n in range(2)]
    answers = step.run(clips)
    assert len(answers) == 2  # what random weights say is cut off: failed rows, which keep it
    assert model.encodings.encoded == 6  # image, video and sound of each
    assert model.encodings.hits == 4  # the video and the sound of `joint`
