"""Look-ups agree with their scene and have a single answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.synthetic.nano.answers import Exchange
from pipeline.synthetic.nano.lookup_examples import (
    cross_modal_lookups,
    heard_part_lookups,
    image_lookups,
    sound_lookups,
    video_lookups,
)
from pipeline.synthetic.world.scenes import compose_scene


def values(exchanges: Sequence[Exchange]) -> dict[str, str]:
    """Return the answers by prompt, without the repeated words of the prompt."""
    found = {}
    for asked, answer in exchanges:
        again = asked.removeprefix("part of: ")
        assert answer.startswith(f"{again} ")
        found[asked] = answer.removeprefix(f"{again} ")
    return found


def test_look_ups_of_a_linked_clip() -> None:
    """A black cross shrinks while a chirp is heard, then a red diamond grows while a voice says eight keys."""
    scene = compose_scene(7, 0)
    assert values(video_lookups(scene)) == {
        **dict.fromkeys(("part of: black", "part of: cross", "part of: shrinks"), "first"),
        **dict.fromkeys(("part of: red", "part of: diamond", "part of: grows"), "second"),
        "first name": "black cross",
        "first colour": "black",
        "first shape": "cross",
        "first motion": "shrinks",
        "second name": "red diamond",
        "second colour": "red",
        "second shape": "diamond",
        "second motion": "grows",
    }
    heard = {"part of: chirp": "first", "part of: eight": "second", "part of: keys": "second"}
    assert values(heard_part_lookups(scene)) == heard
    assert values(sound_lookups(scene)) == {
        **heard,
        "first sound": "a chirp",
        "second sound": "eight keys",
        "second number": "eight",
        "second noun": "keys",
    }
    both = dict(cross_modal_lookups(scene))
    assert len(both) == 3 * 4 + 3 + 3 * 3
    assert both["colour with: chirp"] == "chirp first colour black"
    assert both["shape with: keys"] == "keys second shape diamond"
    assert both["sound with: cross"] == "cross first sound a chirp"
    assert both["noun with: grows"] == "grows second noun keys"


def test_look_ups_of_a_picture_are_about_its_figures() -> None:
    assert image_lookups(compose_scene(7, 0), 3.0) == [
        ("What colour is the diamond?", "red"),
        ("Which shape is red?", "diamond"),
    ]
    for scene in (compose_scene(0, number) for number in range(50)):
        asked = image_lookups(scene, 1.0)
        assert asked, "a picture without a figure"
        assert len({each.prompt for each in asked}) == len(asked)


@pytest.mark.parametrize("kind", ["silent", "still", "mute", "named", "loose"])
def test_no_look_up_has_two_answers(kind: str) -> None:
    for scene in (compose_scene(0, number) for number in range(100)):
        if scene.kind != kind:
            continue
        made = {*video_lookups(scene), *sound_lookups(scene), *cross_modal_lookups(scene)}
        assert len({each.prompt for each in made}) == len(made)
        words = {each.prompt: each.answer for each in made}
        if kind == "silent":
            assert words["first sound"][-7:] == words["second sound"][-7:] == "nothing"
        if kind == "still":
            figure = scene.sights[0].figures[0]
            assert [words[f"{part} colour"].split()[-1] for part in ("first", "second")] == [figure.colour] * 2
            assert not any(each.prompt.startswith("part of") for each in video_lookups(scene))
        if kind == "named":
            figure = scene.sights[0].figures[0]
            assert words["first sound"] == f"first sound {figure.name}"
            assert f"colour with: {figure.colour}" not in words
        if any(len(scene.sights_during(sound)) > 1 for sound in scene.sounds):
            assert cross_modal_lookups(scene) == []
            first, second = (words[f"{part} sound"].removeprefix(f"{part} ") for part in ("first", "second"))
            assert first == second != "sound nothing", "a sound across a cut is heard in both parts"
            assert {each.answer.split(" ", 1)[1] for each in heard_part_lookups(scene)} == {"first and second"}


def test_two_figures_that_meet_have_no_colour() -> None:
    scene = next(scene for scene in (compose_scene(0, n) for n in range(100)) if len(scene.sights[0].figures) > 1)
    seen = dict(video_lookups(scene))
    assert seen["first motion"] == "first motion meet"
    assert "first colour" not in seen
    assert seen["first name"] == f"first name {scene.sights[0].name}"
