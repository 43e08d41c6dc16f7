"""Rules for distractors, and multiple choices whose options are drawn from the clip."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Drop, Question
from ola.prompt import Request
from pipeline.annotation.distractors import (
    choose_distractors,
    clean_option,
    distractor_flaws,
    is_like_length,
    parse_list,
    place_options,
)
from pipeline.config import Config
from pipeline.pack.shortcuts import option_length_bias
from pipeline.steps.ask import Ask, AskSettings
from tests.pipeline.scripted import (
    DISTRACTORS,
    QUESTIONS,
    Scripted,
    first_prompt_of,
    footage,
    inside,
    numbered_list,
    obeys,
    prompt_of,
    ready,
)
from tests.pipeline.test_ask import asking
from tests.pipeline.test_screen import ATTACKS

ONE = "\n".join(QUESTIONS.splitlines()[:2])
RIGHT = "a red kettle"
LISTED = numbered_list(RIGHT, *DISTRACTORS)


def choices(
    root: Path, listed: Any = LISTED, clips: int = 1, notes: str = "", questions: str = ONE, **settings: Any
) -> tuple[list[Any], Scripted]:
    """What becomes of clips whose question has these distractors. listed: an answer, or one after the other."""
    count = questions.count("\nA")
    step = Ask(AskSettings(multiple_choice=True, distractors="clip", questions=count, **settings))
    model = ready(step, root, notes)
    lists = iter(listed if isinstance(listed, list) else [listed] * 99)
    judge = model.judged

    def reply(request: Request) -> Any:
        return next(lists) if first_prompt_of(request) == "ask_distractors" else questions

    model.reply, model.judged = reply, judge
    inputs = [asking(footage(root, f"clip{n}", seed=n)) for n in range(clips)]
    step.expect([each.footage for each in inputs])
    return list(step.run(inputs)), model


@pytest.mark.parametrize(
    ("text", "answer", "entries"),
    [
        (LISTED, RIGHT, (RIGHT, list(DISTRACTORS))),
        ("Sure:\n1) **Red**\n2) `Blue`\n3) “Tan”.\n4) Grey\nThat is all.", "red", ("Red", ["Blue", "Tan", "Grey"])),
        ("- 1. 红色\n- 2、蓝色。\n（3）绿色\n4．白色", "红色的", ("红色", ["蓝色", "绿色", "白色"])),
        ("1. a\n2. \n3. c\n4. d\n5. e", "a", ("a", ["c", "d", "e"])),
        ("1. kettle\n2. pan\n3. pot\n4. cup", "The red kettle on the stove", ("kettle", ["pan", "pot", "cup"])),
        ("1. a red kettle on it\n2. pan\n3. pot\n4. cup", "red kettle", ("a red kettle on it", ["pan", "pot", "cup"])),
    ],
)
def test_a_numbered_list_is_parsed(text: str, answer: str, entries: tuple[str, list[str]]) -> None:
    assert parse_list(text, "stop", answer) == entries


@pytest.mark.parametrize(
    ("text", "finish", "fault"),
    [
        ("", "stop", "empty"),
        ("I cannot watch videos.", "stop", "refused"),
        (LISTED, "length", "cut off"),
        ("red, blue, green, grey", "stop", "expected at least 4 numbered lines, got 0"),
        ("1. red\n2. blue\n3. grey", "stop", "expected at least 4 numbered lines, got 3"),
        (numbered_list(*DISTRACTORS), "stop", "line 1 is not the right answer"),
    ],
)
def test_an_answer_that_is_no_list(text: str, finish: str, fault: str) -> None:
    assert parse_list(text, finish, RIGHT) == fault


@pytest.mark.parametrize(
    ("text", "answer", "flaw"),
    [
        ("a blue bowl", "a red kettle", ""),
        ("A RED KETTLE!", "a red kettle", "equals the answer"),
        ("kettle", "a red kettle", "overlaps the answer"),
        ("a very red kettle lid", "red kettle", "overlaps the answer"),
        ("?!", "a red kettle", "empty"),
        ("I cannot see that.", "a red kettle", "refused"),
        ("a cook", "a red kettle", "stands in the question"),
        ("红色的水壶", "a red kettle", "of another kind"),
        ("7 blue bowls", "a red kettle", "of another kind"),
        ("blue bowls", "a red kettle", "of another kind"),
        ("bowl of soup with noodles in it", "red kettle", "of another length"),
        ("a blue bowl with a long wooden handle", "a red kettle", "of another length"),
        ("twelve", "seven", ""),
        ("两只小猫", "三只大狗", ""),
        ("一只非常大的白色的猫在桌子上", "三只大狗", "of another length"),
    ],
)
def test_flaws_of_a_distractor(text: str, answer: str, flaw: str) -> None:
    assert distractor_flaws([text], answer, "What does the cook (a cook in white) hold?") == [flaw]


def test_distractors_differ_from_each_other() -> None:
    flaws = distractor_flaws(["blue bowl", "The blue bowl.", "big blue bowl", "bowl"], "red kettle", "What is it?")
    assert flaws == ["", "repeats an option", "overlaps an option", "overlaps an option"]
    assert distractor_flaws(["a bowl", "a bowl."], "a kettle", "What?") == ["", "repeats an option"]


def test_length_is_counted_in_characters_and_words() -> None:
    assert is_like_length("two", "seven")
    assert not is_like_length("a b c d e f", "abcdefghijk")
    assert not is_like_length("abcdefghijklmnop", "abcdefghij")


def test_the_letter_and_the_place_in_length_follow_from_the_name_and_are_balanced() -> None:
    proposed = ["a", "bb", "ccc", "eeeee", "ffffff", "ggggggg"]
    letters, ranks = Counter[str](), Counter[int]()
    for n in range(2000):
        name = f"clip-question-{n}"
        letter, options = place_options("dddd", choose_distractors(proposed, "dddd", name), name)
        assert (letter, options) == place_options("dddd", choose_distractors(proposed, "dddd", name), name)
        assert options["ABCD".index(letter)] == "dddd"
        letters[letter] += 1
        ranks[sorted(map(len, options)).index(4)] += 1
    assert all(abs(count - 500) < 100 for count in (*letters.values(), *ranks.values())), (letters, ranks)
    assert set(ranks) == {0, 1, 2, 3}


def test_options_begin_alike() -> None:
    assert set(place_options("Paris", ["rome", "Bonn", "oslo"], "x")[1]) == {"Paris", "Rome", "Bonn", "Oslo"}
    assert set(place_options("a", ["b", "c", "d"], "x")[1]) == set("abcd")
    assert clean_option(' "**A red kettle.**" ') == "A red kettle"


def test_a_question_gets_its_options_from_the_clip(tmp_path: Path) -> None:
    (answer,), model = choices(tmp_path)
    (question,) = answer
    assert isinstance(question, Question)
    right = question.options["ABCD".index(question.answer)]
    assert right == "a red kettle"
    assert len(set(question.options)) == 4
    assert set(question.options) - {right} <= set(DISTRACTORS)
    assert [(each.text, each.present, each.agreement) for each in question.distractors] == [
        (text, 0.9, 0.1) for text in DISTRACTORS
    ]
    assert Counter(each.flaw for each in question.distractors) == {"": 3, "spare": 2}
    assert question.asked.answer == ONE
    assert question.distractors_asked is not None
    assert question.distractors_asked.answer == LISTED
    asked, listed = model.asked
    assert "A) option" not in asked.text
    assert inside(listed.text) == {"question": "What does the cook put on the stove?", "answer": "a red kettle"}
    assert Counter(map(prompt_of, model.chosen)) == {"ask_present": 5, "ask_also_right": 5}
    assert all(
        each.video is asked.video and list(each.sounds) == list(asked.sounds) for each in (listed, *model.chosen)
    )


def test_the_answer_is_restated_in_the_form_of_the_others(tmp_path: Path) -> None:
    listed = "1. Kettle\n2. Spoon\n3. Towel\n4. Basket\n5. a very long table"
    step = Ask(AskSettings(multiple_choice=True, distractors="clip", questions=1))
    for agreement, restated in ((0.5, True), (0.49, False)):
        model = ready(step, tmp_path)
        model.reply = lambda request: listed if first_prompt_of(request) == "ask_distractors" else ONE
        shares = {"Kettle": agreement}

        def judged(request: Request, shares: dict[str, float] = shares) -> float:
            return shares.get(inside(request.text).get("other answer", ""), float("words" in inside(request.text)))

        model.judged = judged
        (answer,) = step.run([asking(footage(tmp_path))])
        if restated:
            assert isinstance(answer, list)
            assert set(answer[0].options) == {"Kettle", "Spoon", "Towel", "Basket"}
            assert answer[0].options["ABCD".index(answer[0].answer)] == "Kettle"
        else:
            assert isinstance(answer, Drop)
            assert "no distractors: the answer is restated with another meaning" in str(answer.detail)


def test_a_restated_answer_does_not_stand_in_the_question(tmp_path: Path) -> None:
    asked = "Q1 (speech): What does the cook put on the stove?\nA1: the stove lid"
    (drop,), model = choices(tmp_path, numbered_list("stove", "spoon", "towel", "basket"), questions=asked)
    assert isinstance(drop, Drop)
    assert "Q1: no distractors: the question has the restated answer" in str(drop.detail)
    assert not model.chosen


def test_the_model_judges_what_is_in_the_clip_and_what_answers_too(tmp_path: Path) -> None:
    def judged(request: Request) -> float:
        data = inside(request.text)
        if prompt_of(request) == "ask_present":
            return 0.5 if data["words"] == "a blue bowl" else 0.49 if data["words"] == "a brown lid" else 0.9
        return 0.5 if data.get("other answer") == "a white towel" else 0.49

    step = Ask(AskSettings(multiple_choice=True, distractors="clip", questions=1))
    model = ready(step, tmp_path)
    model.reply = lambda request: LISTED if first_prompt_of(request) == "ask_distractors" else ONE
    model.judged = judged
    ((question,),) = step.run([asking(footage(tmp_path))])  # type: ignore[misc]
    flaws = {each.text: each.flaw for each in question.distractors}
    assert flaws == dict.fromkeys(DISTRACTORS, "") | {
        "a brown lid": "not in the clip",
        "a white towel": "answers the question, too",
    }
    assert set(question.options) == {"a red kettle", "a blue bowl", "a green spoon", "a black pan"}


def test_what_is_in_the_clip_need_not_be_judged(tmp_path: Path) -> None:
    _, model = choices(tmp_path, least_present=0)
    assert {prompt_of(request) for request in model.chosen} == {"ask_also_right"}


FEW = numbered_list(RIGHT, "a blue bowl", RIGHT, "kettle")


def test_questions_with_too_few_distractors_are_left_out(tmp_path: Path) -> None:
    (drop,), _ = choices(tmp_path, FEW)
    assert isinstance(drop, Drop)
    assert drop.reason == "no question kept: too few distractors"
    assert "Q1: too few distractors: 1 of 3 (a red kettle: equals the answer; kettle: overlaps the answer)" in str(
        drop.detail
    )
    assert FEW in str(drop.detail)
    spoiled = QUESTIONS.replace("Who speaks", "Who, by the transcript, speaks")
    others = numbered_list("a whistle", "a bell", "a hiss", "a shout")
    (answer,), _ = choices(tmp_path, [FEW, others], questions=spoiled)
    assert [(each.number, each.id) for each in answer] == [(2, "clip0-question-2")]
    assert answer[0].left_out[0] == "Q2: names the subtitles"
    assert answer[0].left_out[1].startswith("Q1: too few distractors: 1 of 3")


@pytest.mark.parametrize(
    "fault", ["", "I cannot watch videos.", (LISTED, "length"), "bowls, spoons and lids", numbered_list(*DISTRACTORS)]
)
def test_a_list_that_cannot_be_parsed_is_asked_for_once_more(tmp_path: Path, fault: Any) -> None:
    (answer,), model = choices(tmp_path, [fault, LISTED])
    assert len(answer) == 1
    _, first, second = model.asked
    assert second.text.startswith(first.text)
    assert "Your last answer cannot be read" in second.text
    assert (second.video, second.max_new_tokens) == (first.video, first.max_new_tokens)
    (drop,), model = choices(tmp_path, [fault, fault])
    assert isinstance(drop, Drop)
    assert drop.reason == "no question kept: no distractors"
    assert len(model.asked) == 3


@pytest.mark.parametrize("attack", ATTACKS)
def test_distractors_are_data(tmp_path: Path, attack: str) -> None:
    line = " ".join(attack.split())
    _, model = choices(tmp_path, f"{LISTED}\n7. a {line}")
    _, echoed = choices(tmp_path, [attack, LISTED])
    requests = (*model.asked, *model.chosen, *echoed.asked)
    assert not any(obeys(request.text) for request in requests)


def test_a_list_without_end_is_cut(tmp_path: Path) -> None:
    endless = numbered_list(RIGHT, *(f"a pan {chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(400)))
    (answer,), model = choices(tmp_path, endless)
    assert len(answer[0].distractors) == 12
    assert len(model.chosen) == 24


class Killed(BaseException):
    """What a test ends a worker with."""


def test_an_interrupted_step_asks_nothing_twice_and_gives_the_same_rows(tmp_path: Path) -> None:
    notes = str(tmp_path / "notes")
    whole, _ = choices(tmp_path, clips=3)

    def dying() -> Any:
        yield LISTED
        yield LISTED
        raise Killed

    step = Ask(AskSettings(multiple_choice=True, distractors="clip", questions=1))
    model = ready(step, tmp_path, notes)
    lists = dying()
    model.reply = lambda request: next(lists) if first_prompt_of(request) == "ask_distractors" else ONE
    with pytest.raises(Killed):
        step.run([asking(footage(tmp_path, f"clip{n}", seed=n)) for n in range(3)])
    again, second = choices(tmp_path, clips=3, notes=notes)
    assert again == whole
    assert second.names() == {"ask_distractors": 1}
    once_more, third = choices(tmp_path, clips=3, notes=notes)
    assert (once_more, third.asked, third.chosen) == (whole, [], [])


def test_options_of_the_model_keep_their_key() -> None:
    for settings in (AskSettings(), AskSettings(multiple_choice=True), AskSettings(distractors="clip")):
        facts = Ask(settings).facts()
        assert not {"distractors", "least_present", "most_agreement"} & facts["settings"].keys()
        assert not {"distractor_prompts", "distractor_step"} & facts.keys()
    facts = Ask(AskSettings(multiple_choice=True, distractors="clip")).facts()
    assert set(facts["distractor_prompts"]) == {"ask_distractors", "ask_present", "ask_also_right"}
    assert json.loads(json.dumps(facts))["settings"]["most_agreement"] == 0.5


def test_distractors_from_the_clip_are_for_multiple_choices(tmp_path: Path) -> None:
    step = Ask(AskSettings(distractors="clip", questions=1))
    model = ready(step, tmp_path)
    model.reply = lambda _: ONE
    ((question,),) = step.run([asking(footage(tmp_path))])  # type: ignore[misc]
    assert (question.answer, question.options, question.distractors) == ("a red kettle", (), ())
    assert len(model.asked) == 1
    with pytest.raises(ValueError, match="distractors"):
        Config.model_validate({"ask": {"distractors": "web"}})


def test_length_bias_of_the_options_is_bounded(tmp_path: Path) -> None:
    others = ("a pan", "a very long wooden table", "a green spoon", "a big pan", "a lid", "a white cup")
    listed = numbered_list(RIGHT, *others)
    ((question,),), _ = choices(tmp_path, listed)
    assert set(question.options) == {"a red kettle", "a green spoon", "a big pan", "a white cup"}
    bias = option_length_bias(question.answer, question.options)
    assert bias == pytest.approx(len("a red kettle") / len("a green spoon") - 1)
