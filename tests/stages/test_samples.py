"""The JSON of a sample: its arithmetic, and errors for unknown fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.samples import (
    FAMILIES,
    KINDS,
    Pictures,
    Task,
    Turn,
    key_of,
    media_tokens,
    members_of,
    sample_tokens,
    text_tokens,
    turn,
)


def test_every_kind_of_task_belongs_to_a_stage_with_members() -> None:
    assert {kind.stage for kind in KINDS.values()} == set(FAMILIES)
    assert all(members[0] == "json" for members in FAMILIES.values())
    for kind, (_, tags) in KINDS.items():
        assert members_of(kind)[0] == "json"
        for tag, extensions in {"<image>": {"jpg", "jpgs", "mjpg"}, "<speech>": {"wav"}}.items():
            assert tag not in tags or extensions & set(members_of(kind))


def test_samples_apart_have_the_media_of_their_tags_and_no_others() -> None:
    kinds = ("chat", "images_chat", "audio_chat", "spoken_qa", "image_chat", "omni_chat")
    assert {kind: members_of(kind) for kind in kinds} == {
        "chat": ("json",),
        "images_chat": ("json", "jpgs"),
        "audio_chat": ("json", "wav"),
        "spoken_qa": ("json", "jpg", "wav"),
        "image_chat": ("json", "jpg"),
        "omni_chat": ("json", "mjpg", "wav"),
    }


def test_a_spoken_question_has_its_tags_where_they_are() -> None:
    turns = (turn("human", "<image>\nUser's question in speech: <speech>"), turn("gpt", "So."))
    task = Task(id="a", kind="spoken_qa", conversations=turns)
    assert (task.tags, task.spoken) == ("<speech><image>", True)
    assert Task(id="a", kind="image_chat", conversations=turns).tags == "<image>"
    # an image, not a video of one frame; and 30 s of sound
    assert media_tokens("spoken_qa", 448, 448, 1, 30.0) == media_tokens("image_chat", 448, 448, 1, 0.0) + 153
    assert media_tokens("chat", 0, 0, 0, 0.0) == 0


@pytest.mark.parametrize(
    ("said", "tags"),
    [
        ("<speech><image>\nWhat?", "<speech><image>"),
        ("<speech>\nWhat?", "<speech>"),
        ("<image>\nWhat is <speech>?", "<image>"),
        ("What is <image>?", ""),
        ("<image><speech>\nWhat?", "<image>"),
    ],
)
def test_the_tags_that_a_conversation_begins_with_say_what_it_uses(said: str, tags: str) -> None:
    assert Task(id="a", kind="b", conversations=(turn("human", said), turn("gpt", "That."))).tags == tags


def test_keys_differ_between_stages_and_have_no_dot() -> None:
    keys = {key_of("3fa9-000000000-000001000", stage) for stage in FAMILIES}
    assert len(keys) == len(FAMILIES)
    assert not any("." in key for key in keys)


def test_tokens_are_olas() -> None:
    """Values of the original: 64 frames of 448x448 take 13,506 positions, sound 2 + 151 per started 30 s."""
    assert media_tokens("video_qa", 448, 448, 64, 30.0) == 13506
    assert media_tokens("subtitle", 448, 448, 64, 30.0) == 13506 + 153
    assert media_tokens("subtitle", 448, 448, 64, 30.1) == 13506 + 304
    assert media_tokens("speech_recognition", 448, 448, 64, 30.0) == 153
    assert media_tokens("sound_caption", 448, 448, 64, 0) == 0
    # high view 14 rows of 14 and a newline, low view (384 x 384) 12 of 12; begin, separator and end
    assert media_tokens("image_caption", 448, 448, 64, 30.0) == 14 * 15 + 12 * 13 + 3
    assert (text_tokens(""), text_tokens("abc"), text_tokens("abcd")) == (0, 1, 2)


def test_a_turn_is_written_as_it_is_read() -> None:
    written = turn("human", "<image>\nWhat?").model_dump_json(by_alias=True)
    assert written == '{"from":"human","value":"<image>\\nWhat?"}'
    assert Turn.model_validate_json(written).speaker == "human"


def test_unknown_fields_and_speakers_are_errors() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Turn.model_validate({"from": "human", "value": "x", "weight": 1})
    with pytest.raises(ValidationError, match="human"):
        turn("tool", "x")


def test_the_json_of_pictures_of_one_size_has_no_sizes() -> None:
    one = Pictures(width=64, height=32, bytes=(9, 8), ms=(0, 1))
    assert one.model_dump_json() == '{"width":64,"height":32,"bytes":[9,8],"ms":[0,1]}'
    assert one.each == ((64, 32), (64, 32))
    several = one.model_copy(update={"sizes": ((64, 32), (96, 96))})
    assert Pictures.model_validate_json(several.model_dump_json()) == several
    assert sample_tokens("images_chat", several, 0) == sum(
        media_tokens("image_chat", *size, 1, 0) for size in several.each
    )


def test_media_are_shown_in_the_turns_that_begin_with_their_tags() -> None:
    turns = ("system", "Hm"), ("human", "<image>\n<image>\nWhat?"), ("gpt", "So."), ("human", "<speech><image>\nAnd?")
    task = Task(id="a", kind="b", conversations=tuple(turn(*one) for one in turns))
    assert (task.turns_with("<image>"), task.turns_with("<speech>"), task.tags) == ((0, 0, 1), (1,), "<speech><image>")
