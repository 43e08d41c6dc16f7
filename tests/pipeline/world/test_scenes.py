"""Scenes and their questions: splits hold out pairs and voices, and the needs of questions are right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.annotation.text_rules import KINDS as ASKED_KINDS
from pipeline.annotation.text_rules import QuestionDraft, question_flaws
from pipeline.errors import ConfigError
from pipeline.synthetic.world.captions import captions_by_view, sight_clause
from pipeline.synthetic.world.questions import (
    FORMS,
    ORDINALS,
    QAPair,
    ambiguous_questions,
    answerable_questions,
    is_well_formed,
    make_questions,
)
from pipeline.synthetic.world.scenes import KINDS, Scene, compose_scene
from pipeline.synthetic.world.vocabulary import (
    COLOURS,
    HELD_OUT_FIGURES,
    HELD_OUT_PHRASES,
    HELD_OUT_SPEAKERS,
    NOUNS,
    NUMBERS,
    SHAPES,
    SPLITS,
    VOICE,
    split_of_seed,
)


def scenes(seed: int, count: int = 60) -> list[Scene]:
    return [compose_scene(seed, number) for number in range(count)]


def figures(scene: Scene) -> set[tuple[str, str]]:
    return {(figure.colour, figure.shape) for sight in scene.sights for figure in sight.figures}


def phrases(scene: Scene) -> set[tuple[str, ...]]:
    spoken = {tuple(sound.text.split()) for sound in scene.sounds if sound.name == VOICE}
    return spoken if scene.kind != "named" else set()


def test_the_same_seed_and_number_give_the_same_scene() -> None:
    assert scenes(3) == scenes(3)
    assert len({repr(scene.sights) for scene in scenes(3) + scenes(4)}) == 120


def test_ten_clips_have_every_kind() -> None:
    made = Counter(scene.kind for scene in scenes(0, 10))
    assert made == Counter(KINDS)
    assert made["linked"] == 5


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_a_split_takes_all_or_nothing_of_what_is_held_out(split: object) -> None:
    assert split in SPLITS
    chosen = next(each for each in SPLITS if each == split)
    made = scenes(chosen.seeds[0]) + scenes(chosen.seeds[-1])
    pairs = {pair for scene in made for pair in figures(scene)}
    said = {pair for scene in made for pair in phrases(scene)}
    speakers = {scene.voice.name.partition("+")[2] for scene in made}
    assert {scene.split for scene in made} == {chosen.name}
    for found, held_out, expected in (
        (pairs, set(HELD_OUT_FIGURES), chosen.held_out_pairs),
        (said, set(HELD_OUT_PHRASES), chosen.held_out_pairs),
        (speakers, set(HELD_OUT_SPEAKERS), chosen.held_out_voices),
    ):
        assert found
        assert found <= held_out if expected else found.isdisjoint(held_out)


def test_each_word_that_is_held_out_in_a_pair_is_seen_in_others() -> None:
    train = SPLITS[0]
    assert {colour for colour, _ in train.figures} == set(COLOURS)
    assert {shape for _, shape in train.figures} == set(SHAPES)
    assert {number for number, _ in train.phrases} == set(NUMBERS)
    assert {noun for _, noun in train.phrases} == set(NOUNS)
    assert {shape for _, shape in HELD_OUT_FIGURES} == set(SHAPES)
    assert {noun for _, noun in HELD_OUT_PHRASES} == set(NOUNS)


def test_seeds_lie_in_one_split_or_are_refused() -> None:
    assert [split_of_seed(seed).name for seed in (0, 999, 1000, 5999)] == ["train", "train", "val", "test-both"]
    with pytest.raises(ConfigError, match=r"seed 6000 belongs to no split of the world \(choices: train 0-999, val"):
        split_of_seed(6000)


def test_questions_would_pass_the_rules_of_ask() -> None:
    longer = [compose_scene(1, number, segments=5) for number in range(20)]
    for scene in scenes(0) + scenes(4000) + longer:
        asked = make_questions(scene)
        assert len({qa.question for qa in asked}) == len(asked), "one question has two answers"
        said = " ".join(sound.text for sound in scene.sounds)
        for qa in asked:
            assert question_flaws([QuestionDraft(qa.kind, qa.question, qa.answer)], said) == [None], qa
            assert qa.kind in ASKED_KINDS
            assert is_well_formed(qa.question)


@pytest.mark.parametrize(
    "question",
    [
        "What colour is the dog while the voice says two cars?",
        "What colour is the shape while the voice says two red?",
        "What is heard while the circle red is seen?",
        "What is heard while the red circle is seen and why?",
        "",
    ],
)
def test_other_questions_are_not_well_formed(question: str) -> None:
    assert not is_well_formed(question)


def test_well_formedness_ignores_case_and_punctuation() -> None:
    assert is_well_formed("what colour is the shape, while the voice says: 'Two cars'")


def exchanged(scene: Scene, what: str) -> Scene:
    """Return a scene with its two sounds, or its two sights, swapped."""
    first, second = getattr(scene, what)
    swapped = (
        replace(second, start=first.start, end=first.end),
        replace(first, start=second.start, end=second.end),
    )
    return replace(scene, **{what: swapped})  # type: ignore[arg-type]


def both_ways() -> Iterator[tuple[QAPair, dict[str, str], dict[str, str]]]:
    """Yield each question of linked clips with all answers after its sounds, and after its sights, are swapped."""
    for scene in scenes(0, 200):
        if scene.kind == "linked" and len(scene.sounds) == 2:
            other_sound, other_sight = (
                {qa.question: qa.answer for qa in make_questions(exchanged(scene, what))}
                for what in ("sounds", "sights")
            )
            yield from ((qa, other_sound, other_sight) for qa in make_questions(scene))


def test_only_the_needed_senses_change_the_answer() -> None:
    """A view does not suffice if it is the same for two clips with different answers."""
    seen: Counter[str] = Counter()
    for qa, other_sound, other_sight in both_ways():
        seen[qa.needs] += 1
        kept = {
            "sound": other_sound.get(qa.question, qa.answer) == qa.answer,
            "sight": other_sight.get(qa.question, qa.answer) == qa.answer,
        }
        changes = {"both": ("sound", "sight"), "video": ("sight",), "audio": ("sound",), "text": ()}[qa.needs]
        for what in ("sound", "sight"):
            answers = other_sound if what == "sound" else other_sight
            if what not in changes:
                assert kept[what], qa
            elif qa.needs == "both" and qa.question in answers:
                assert not kept[what], qa
    assert min(seen[needs] for needs in ("both", "video", "audio", "text")) > 50


def parts_named(scene: Scene, question: str) -> set[str]:
    """Return the parts of the names in a question, and its ordinals."""
    names = {figure.name: n for n, sight in enumerate(scene.sights) for figure in sight.figures}
    names |= {f"something {sight.motion}": n for n, sight in enumerate(scene.sights)}
    if scene.kind != "named":
        names |= {sound.text: int(sound.start / 2) for sound in scene.sounds}
        names |= {f"many {sound.text.split()[-1]} ": int(sound.start / 2) for sound in scene.sounds}
    asked = question.replace("?", " ")
    return {ORDINALS[n] for name, n in names.items() if name in asked} | set(asked.split()) & set(ORDINALS)


@pytest.mark.parametrize("segments", [2, 5])
def test_the_part_of_a_question_is_that_of_its_names(segments: int) -> None:
    forms: dict[str, Counter[str]] = {form: Counter() for form in FORMS}
    for scene in (compose_scene(seed, number, segments) for seed in range(4) for number in range(100)):
        for qa in make_questions(scene):
            forms[qa.form][qa.part] += 1
            assert (qa.part == "always") == (qa.chance == 1 and qa.needs != "text"), qa
            assert (qa.part == "") == (qa.needs == "text"), qa
            if qa.part not in ("always", ""):
                assert parts_named(scene, qa.question) == {qa.part}, qa
    places = {form for form, parts in forms.items() if {"first", "second"} <= parts.keys()}
    last = {"seen after", "heard after"} if segments == 2 else set()  # nothing comes after the second
    assert places == set(FORMS) - {"corners", "next number"} - last
    assert all(set(forms[form]) == {"first"} for form in last)


def test_a_question_of_one_answer_is_a_shortcut() -> None:
    """In a clip with a single sight the picture answers questions about what is seen during a sound."""
    still = [scene for scene in scenes(0) if scene.kind == "still"]
    asked = [qa for scene in still for qa in make_questions(scene) if qa.form in ("colour while", "seen while")]
    assert asked
    assert {(qa.needs, qa.chance) for qa in asked} == {("video", 1.0)}


@pytest.mark.parametrize("kind", ["named", "loose", "still", "silent", "mute"])
def test_only_linked_clips_have_questions_that_need_both(kind: str) -> None:
    asked = [qa for scene in scenes(0) if scene.kind == kind for qa in make_questions(scene)]
    assert asked
    assert "both" not in {qa.needs for qa in asked}


def test_linked_clips_have_questions_that_need_both_answered_by_chance_half_the_time() -> None:
    for scene in scenes(0, 100):
        if scene.kind == "linked":
            both = [qa for qa in make_questions(scene) if qa.needs == "both"]
            assert both
            assert all(qa.chance == 0.5 for qa in both)


def test_ambiguous_questions_are_well_formed_and_not_made() -> None:
    kinds: dict[str, set[str]] = {"across": set(), "stays": set(), "twice": set()}
    for scene in [compose_scene(0, number) for number in range(400)]:
        found, asked = ambiguous_questions(scene), {qa.question for qa in answerable_questions(scene)}
        assert all(is_well_formed(question) for question in found)
        assert asked.isdisjoint(found)
        assert set(found.values()) <= {"first and second"}
        across = any(len(scene.sights_during(sound)) > 1 for sound in scene.sounds)
        assert across == any("is seen while" in question for question in found)
        several = [{each.text or each.name for each in scene.sounds_during(sight)} for sight in scene.sights]
        stays = scene.kind != "named" and any(len(heard) > 1 for heard in several)
        assert stays == any(f"{sight_clause(scene.sights[0])}?" in question for question in found)
        nouns = [sound.text.split()[-1] for sound in scene.sounds if scene.kind != "named"]
        twice = len(set(nouns)) < len(nouns)
        assert twice == any(re.fullmatch(r"How many \w+ does the voice count\?", question) for question in found)
        assert bool(found) == (across or stays or twice)
        for sort, has in {"across": across, "stays": stays, "twice": twice}.items():
            kinds[sort] |= {scene.kind} if has else set()
    assert kinds["across"] == {"loose"}
    assert kinds["stays"] == {"loose", "still"}
    assert "linked" in kinds["twice"]


def test_answerable_questions_include_simple_ones() -> None:
    scene = next(s for s in scenes(0, 400) if s.kind == "linked" and len({x.figures[0].colour for x in s.sights}) == 1)
    plain = {p.question: (p.answer, p.needs) for p in answerable_questions(scene) if p not in make_questions(scene)}
    colour = scene.sights[0].figures[0].colour
    assert plain["What colour is the first shape?"] == plain["What colour is the second shape?"] == (colour, "video")
    corners = {question: told for question, told in plain.items() if "corners" in question}
    assert len(corners) >= 2
    assert {needs for _, needs in corners.values()} == {"text"}
    assert {qa.question for qa in make_questions(scene)} < {qa.question for qa in answerable_questions(scene)}


def test_captions_describe_the_scene() -> None:
    scene = compose_scene(7, 0)
    assert captions_by_view(scene, 2.5) == {
        "image": "A small red diamond.",
        "video": "A black cross shrinks, then a red diamond grows.",
        "sound": "A chirp is heard, then a voice says eight keys.",
        "joint": "A black cross shrinks while a chirp is heard, "
        "then a red diamond grows while a voice says eight keys.",
    }
    assert captions_by_view(scene, 0.5)["image"] == "A large black cross."  # it shrinks, from large
    assert captions_by_view(compose_scene(7, 3), 1.0)["sound"] == "Nothing is heard."
    assert set(captions_by_view(compose_scene(7, 9), 1.0)) == {"image", "video"}
