"""Answers under each view, questions without an answer, and the three questions that `ask` is trained on."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.annotation.text_rules import parse_questions, question_flaws
from pipeline.synthetic.nano.answers import (
    UNKNOWN,
    answer_under_view,
    foreign_questions,
    is_unanswerable,
    names_in_question,
    names_in_scene,
)
from pipeline.synthetic.nano.qa_examples import make_triples, order_questions
from pipeline.synthetic.world.questions import ORDINALS, QAPair, make_questions
from pipeline.synthetic.world.scenes import Scene, compose_scene

VIEWS = ("both", "video", "audio", "text")


ASKED = "What colour is the shape while the voice says two dogs?"


def qa(needs: str, part: str = "second", form: str = "colour while", question: str = ASKED) -> QAPair:
    return QAPair(form, "source", question, "blue", needs, 0.5, part)


def scenes(count: int = 100, seed: int = 0) -> list[Scene]:
    return [compose_scene(seed, number) for number in range(count)]


@pytest.mark.parametrize(
    ("needs", "views"),
    [("both", {"both"}), ("video", {"both", "video"}), ("audio", {"both", "audio"}), ("text", set(VIEWS))],
)
def test_a_view_that_suffices_is_answered_with_the_part(needs: str, views: set[str]) -> None:
    scene = compose_scene(0, 0)
    assert {
        view for view in VIEWS if answer_under_view(scene, qa(needs), view) == "two dogs second colour: blue"
    } == views
    assert {view for view in VIEWS if answer_under_view(scene, qa(needs), view) == UNKNOWN} == set(VIEWS) - views
    assert answer_under_view(scene, qa(needs, part=""), "both") == "blue"
    assert answer_under_view(scene, qa(needs, part="always"), "both") == "always colour: blue"


def test_answers_about_motions_state_positions() -> None:
    wanted = {
        "What does the blue triangle do?": "blue triangle first 332 632 motion: moves right",
        "What does the shape do while the voice says ten books?": "ten books second 362 332 motion: rises",
        "What is heard while something rises?": (
            "first 332 632 moves right second 362 332 rises, rises second heard: a voice"
        ),
        "What does the voice say while something rises?": "always words: ten books",
    }
    found = {qa.question: answer_under_view(scene, qa, "both") for scene in scenes(1) for qa in make_questions(scene)}
    assert {question: found[question] for question in wanted} == wanted


def test_answers_about_figures_that_meet_name_both() -> None:
    found = [
        answer_under_view(scene, qa, "video")
        for scene in scenes()
        for qa in make_questions(scene)
        if qa.form == "meets"
    ]
    both = "black cross and green cross and black cross"
    assert f"green cross second {both} green cross and black cross meet: the black cross" in found


def test_a_foreign_question_names_nothing_of_the_scene() -> None:
    found = 0
    for scene in scenes():
        own, texts = make_questions(scene), [sound.text for sound in scene.sounds]
        for each in foreign_questions(scene, own, 3, Random(scene.number)):
            found += 1
            assert each.needs != "text"
            assert each.question not in [other.question for other in own]
            for name in (*(figure.name for sight in scene.sights for figure in sight.figures), *texts):
                assert f" {name} " not in each.question.replace("?", " ")
    assert found > 200


def test_the_names_in_a_question_are_found() -> None:
    asked = qa("both", question="What colour is the shape while the voice says two dogs?")
    assert names_in_question(asked) == {"two dogs"}
    assert names_in_question(qa("video", question="What is heard while the red circle and the blue star meet?")) == {
        "red circle",
        "blue star",
    }
    assert names_in_question(qa("audio", question="How many dogs does the voice count?")) == {"dogs"}
    assert names_in_question(qa("audio", question="What is heard after the beep?")) == {"the beep"}
    assert names_in_question(qa("text", question="How many corners does a square have?")) == set()
    for scene in scenes(20):
        for each in make_questions(scene):
            assert names_in_question(each) <= names_in_scene(scene)


def test_a_foreign_question_is_asked_only_where_the_view_shows_that_it_has_no_answer() -> None:
    stranger = qa("both", question="What colour is the shape while the siren is heard?")
    assert is_unanswerable(stranger, [], "both")
    assert is_unanswerable(stranger, [], "audio")
    assert not is_unanswerable(stranger, [qa("video", part="always")], "video"), "all that is seen may be of one colour"
    assert is_unanswerable(stranger, [qa("both")], "video")
    heard = qa("both", form="said while")
    assert not is_unanswerable(heard, [], "audio")
    assert is_unanswerable(heard, [], "video")


def test_triples_pass_the_rules_and_start_with_questions_that_need_both_senses() -> None:
    for scene in scenes():
        said = " ".join(sound.text for sound in scene.sounds if sound.name == "voice")
        own = {each.question: each for each in make_questions(scene)}
        made = make_triples(list(own.values()), said, 4, Random(0)) if said else []
        assert len(set(made)) == len(made)
        for text in made:
            found = parse_questions(text, 3)
            assert question_flaws(found, said) == [None] * 3
            three = [own[draft.question] for draft in found]
            assert order_questions(three) == three
            assert not any(each.form == "heard while" and each.chance == 1 for each in three)
            if scene.kind == "linked" and len({each.part for each in own.values() if each.needs == "both"}) > 1:
                assert three[2].needs != "both"
                assert {three[0].part, three[1].part} == set(ORDINALS[:2])


def test_questions_with_equal_answers_give_no_triple() -> None:
    own = [qa("both", question=f"What is {word}?") for word in ("this", "that", "it", "here")]
    assert make_triples(own, "two dogs", 4, Random(0)) == [], "their answers are the same"
