"""Look-ups are true of their scene."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.nano.answering import Exchange
from pipeline.nano.looking import over_both, over_sound, over_video, parts_heard
from pipeline.world.scenes import compose


def parts(exchanges: Sequence[Exchange]) -> dict[str, str]:
    """Which part each word belongs to, as every order of a list of them says."""
    found: dict[str, str] = {}
    for asked, answer in exchanges:
        if asked.startswith("part of: "):
            told = dict(text.rsplit(" ", 1) for text in answer.split(", "))
            assert ", ".join(told) == asked.removeprefix("part of: ")
            assert found in ({}, told)
            found = told
    return found


def test_a_linked_clip() -> None:
    """A black cross shrinks while a chirp is heard, then a red diamond grows while a voice says eight keys."""
    scene = compose(7, 0)
    shown = {
        **dict.fromkeys(("black", "cross", "shrinks"), "first"),
        **dict.fromkeys(("red", "diamond", "grows"), "second"),
    }
    assert parts(over_video(scene)) == shown
    assert {asked: answer for asked, answer in over_video(scene) if "part of" not in asked} == {
        "first colour:": "black",
        "first shape:": "cross",
        "first motion:": "shrinks",
        "second colour:": "red",
        "second shape:": "diamond",
        "second motion:": "grows",
    }
    assert parts(parts_heard(scene)) == {"chirp": "first", "eight": "second", "keys": "second"}
    assert {asked: answer for asked, answer in over_sound(scene) if "part of" not in asked} == {
        "first sound:": "a chirp",
        "second sound:": "eight keys",
        "second number:": "eight",
        "second noun:": "keys",
    }
    both = dict(over_both(scene))
    assert len(both) == 3 * 3 + 3 + 3 * 3
    assert (both["colour with: chirp"], both["shape with: keys"]) == ("first: black", "second: diamond")
    assert (both["sound with: cross"], both["noun with: grows"]) == ("first: a chirp", "second: keys")


@pytest.mark.parametrize("kind", ["silent", "still", "mute", "named", "loose"])
def test_no_look_up_has_two_answers(kind: str) -> None:
    for scene in (compose(0, number) for number in range(100)):
        if scene.kind != kind:
            continue
        made = {*over_video(scene), *over_sound(scene), *over_both(scene)}
        assert len({each.asked for each in made}) == len(made)
        words = {each.asked: each.answer for each in made}
        if kind == "silent":
            assert words["first sound:"] == words["second sound:"] == "nothing"
        if kind == "still":
            assert words["first colour:"] == words["second colour:"] == scene.sights[0].figures[0].colour
            assert not any(each.asked.startswith("part of") for each in over_video(scene))
        if kind == "named":
            figure = scene.sights[0].figures[0]
            assert words["first sound:"] == figure.name
            assert f"colour with: {figure.colour}" not in words
        if any(len(scene.seen_with(sound)) > 1 for sound in scene.sounds):
            assert over_both(scene) == []
            assert words["second sound:"] == "nothing"


def test_two_that_meet_have_no_one_colour() -> None:
    scene = next(scene for scene in (compose(0, n) for n in range(100)) if len(scene.sights[0].figures) > 1)
    seen = dict(over_video(scene))
    assert seen["first motion:"] == "meet"
    assert "first colour:" not in seen
