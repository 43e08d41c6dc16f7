"""Look-ups are true of their scene."""

from __future__ import annotations

import pytest

from pipeline.nano.looking import over_both, over_sound, over_video, parts_heard
from pipeline.world.scenes import compose


def test_a_linked_clip() -> None:
    """A black cross shrinks while a chirp is heard, then a red diamond grows while a voice says eight keys."""
    scene = compose(7, 0)
    assert dict(over_video(scene)) == {
        **{f"part of: {word}": f"{word} first" for word in ("black", "cross", "shrinks")},
        **{f"part of: {word}": f"{word} second" for word in ("red", "diamond", "grows")},
        "first colour:": "black",
        "first shape:": "cross",
        "first motion:": "shrinks",
        "second colour:": "red",
        "second shape:": "diamond",
        "second motion:": "grows",
    }
    heard = {
        f"part of: {word}": f"{word} {part}"
        for word, part in (("chirp", "first"), ("eight", "second"), ("keys", "second"))
    }
    assert dict(parts_heard(scene)) == heard
    assert dict(over_sound(scene)) == {
        **heard,
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
