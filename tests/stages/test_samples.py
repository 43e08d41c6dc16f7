"""The json of a sample: its arithmetic, and that what it does not know is an error."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.samples import FAMILIES, KINDS, Task, Turn, key_of, media_tokens, text_tokens, turn


def test_every_kind_of_task_belongs_to_a_stage_with_members() -> None:
    assert {kind.stage for kind in KINDS.values()} == set(FAMILIES)
    assert all(members[0] == "json" for members in FAMILIES.values())
    for stage, tags in KINDS.values():
        assert {"<image>": {"jpg", "mjpg"}, "<speech>": {"wav"}}[tags[: tags.index(">") + 1]] & set(FAMILIES[stage])


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
    """Facts of the original: 64 frames of 448x448 take 13,506 positions, sound 2 + 151 for each started 30 s."""
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
        turn("system", "x")
