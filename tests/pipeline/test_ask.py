"""Ask: parsing of answers, retries, drops and failures; no request is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.ledger import FAILED
from manifests.records import ClipMedia, Drop, Screening
from ola.prompt import Request
from pipeline.annotation.annotator import ModelStep
from pipeline.engine.outcomes import outcome_of
from pipeline.errors import BadMedia
from pipeline.prompts import prompt
from pipeline.steps.ask import Ask, AskInput, AskSettings
from pipeline.steps.caption import Captioning
from pipeline.steps.screen import Screen
from pipeline.steps.verify import Verify
from tests.pipeline.scripted import QUESTIONS, SAID, Scripted, footage, inside, obeys, ready, transcript
from tests.pipeline.test_screen import ATTACKS
from tests.pipeline.test_text_rules import CHOICE


def asking(seen: ClipMedia, text: str = SAID, complete: float = 0.9, informative: float = 0.9) -> AskInput:
    scores = {"complete": complete, "informative": informative}
    screening = Screening(id=seen.clip, clip=seen.clip, footage=seen.id, transcript=seen.clip, **scores)
    return AskInput(screening, seen, transcript(text, seen.clip))


def questions(root: Path, *replies: Any, text: str = SAID, **settings: Any) -> tuple[Any, Scripted]:
    """What becomes of a clip to which the model says these, one after the other."""
    step = Ask(AskSettings(**settings))
    model = ready(step, root)
    said: Iterator[Any] = iter(replies)
    model.reply = lambda _: next(said)
    (answer,) = step.run([asking(footage(root), text)])
    assert next(said, None) is None
    return answer, model


def test_three_questions_from_picture_sound_and_fenced_subtitles(tmp_path: Path) -> None:
    answer, model = questions(tmp_path, QUESTIONS)
    assert [(each.id, each.number, each.kind) for each in answer] == [
        ("clip-question-0", 0, "speech"),
        ("clip-question-1", 1, "source"),
        ("clip-question-2", 2, "order"),
    ]
    assert (answer[0].question, answer[0].answer) == ("What does the cook put on the stove?", "a red kettle")
    assert (answer[0].options, answer[0].left_out, answer[0].asked.answer) == ((), (), QUESTIONS)
    (request,) = model.asked
    assert inside(request.text) == {"subtitles": SAID}
    assert (len(list(request.video or ())), len(request.sounds)) == (3, 1)  # type: ignore[arg-type]


def test_a_clip_without_sound_is_asked_about_without(tmp_path: Path) -> None:
    step = Ask()
    model = ready(step, tmp_path)
    (answer,) = step.run([asking(footage(tmp_path, seconds=None))])
    assert len(answer) == 3  # type: ignore[arg-type]
    assert list(model.asked[0].sounds) == []


def test_a_multiple_choice_is_answered_by_its_letter(tmp_path: Path) -> None:
    answer, model = questions(tmp_path, CHOICE, questions=1, multiple_choice=True)
    assert (answer[0].answer, answer[0].options) == ("B", ("once", "twice", "three times", "never"))
    assert "A1: letter of the right option" in model.asked[0].text


def test_scores_of_the_screen_decide_who_is_asked(tmp_path: Path) -> None:
    step = Ask(AskSettings(least_complete=0.3))
    model = ready(step, tmp_path)
    seen = footage(tmp_path)
    answers = step.run([asking(seen, informative=0.4), asking(footage(tmp_path, "other"), complete=0.2)])
    assert answers == [
        Drop("not informative enough", "0.400; ask.least_informative is 0.5"),
        Drop("not complete enough", "0.200; ask.least_complete is 0.3"),
    ]
    assert not model.asked


FORMS: dict[str, tuple[str, set[str]]] = {
    "a fence": (f"```text\n{QUESTIONS}\n```", {"fence"}),
    "words before and after": (f"Sure! Here they are:\n\n{QUESTIONS}\nI hope this helps!", {"preamble", "postscript"}),
    "bold": (QUESTIONS.replace("Q", "**Q").replace("):", "):**"), {"markup"}),
    "bold text": ("\n".join(f"**{line}**" for line in QUESTIONS.splitlines()), {"markup"}),
    "bullets": ("\n".join(f"- {line}" for line in QUESTIONS.splitlines()), {"markup"}),
    "headings": (QUESTIONS.replace("Q", "### Q").replace("\nA", "\n> A"), {"markup"}),
    "other labels": (QUESTIONS.replace("Q", "Question ").replace("A1", "Answer").replace("A2", "Answer 2"), {"labels"}),
    "numbers": (QUESTIONS.replace("Q1", "1.").replace("Q2", "2.").replace("Q3", "3."), {"labels"}),
    "wide signs": (QUESTIONS.replace(" (", "（").replace("):", "）："), {"labels"}),
    "brackets": (QUESTIONS.replace("(", "[").replace("):", "] -"), {"labels"}),
    "lines": (QUESTIONS.replace(": ", ":\n"), {"broken lines"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_plain_meaning_is_read_in_any_form_and_the_form_is_noted(tmp_path: Path, form: str) -> None:
    expected, _ = questions(tmp_path, QUESTIONS)
    written, departures = FORMS[form]
    answer, _ = questions(tmp_path, written)
    assert [(q.kind, q.question, q.answer) for q in answer] == [(q.kind, q.question, q.answer) for q in expected]
    assert set(answer[0].departures) == departures
    assert expected[0].departures == ()


@pytest.mark.parametrize("form", FORMS)
def test_strict_asks_again_for_another_form(tmp_path: Path, form: str) -> None:
    _, model = questions(tmp_path, FORMS[form][0], QUESTIONS, strict=True)
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    "written",
    [
        CHOICE.replace(")", "."),
        CHOICE.replace("A1: B", "**A1: (B) twice**"),
        CHOICE.replace("A1: B", "Correct answer: twice"),
        f"```\n{CHOICE}\n```".replace("B) ", "- b) "),
    ],
)
def test_a_choice_is_read_in_any_form(tmp_path: Path, written: str) -> None:
    answer, _ = questions(tmp_path, written, questions=1, multiple_choice=True)
    assert (answer[0].answer, answer[0].options) == ("B", ("once", "twice", "three times", "never"))


FAULTS = [
    ("", "empty"),
    ("I cannot watch videos.", "refused"),
    ((QUESTIONS[:60], "length"), "cut off"),
    (QUESTIONS.replace("Q2", "Q5"), "not in the form"),
    (QUESTIONS.replace("(order)", "(sequence)"), "not in the form"),
    (QUESTIONS.partition("\nQ3")[0], "not in the form"),
]


@pytest.mark.parametrize(("reply", "reason"), FAULTS)
def test_what_cannot_be_read_is_asked_for_once_more(tmp_path: Path, reply: Any, reason: str) -> None:
    answer, model = questions(tmp_path, reply, QUESTIONS)
    assert len(answer) == 3
    first, second = model.asked
    raw = reply if isinstance(reply, str) else reply[0]
    assert second.text.startswith(first.text)
    assert f"cannot be read: {reason}" in second.text
    assert inside(second.text)["answer"] == raw
    assert second.video is first.video
    assert answer[0].asked.prompt == second.text


@pytest.mark.parametrize(("reply", "reason"), FAULTS)
def test_what_cannot_be_read_twice_fails_with_the_raw_text(tmp_path: Path, reply: Any, reason: str) -> None:
    answer, _ = questions(tmp_path, QUESTIONS.replace("(speech)", "(talk)"), reply)
    assert isinstance(answer, BadMedia)
    row = outcome_of("clip", answer, 1.0)
    assert (row.status, row.reason) == (FAILED, f"no questions: {reason}, twice")
    raw = reply if isinstance(reply, str) else reply[0]
    assert row.detail is not None
    assert raw in row.detail
    assert "Q1 (talk)" in row.detail


def test_questions_that_break_a_rule_are_named_in_the_rows_of_the_others(tmp_path: Path) -> None:
    answer, _ = questions(tmp_path, QUESTIONS.replace("Who speaks", "Who, by the transcript, speaks"))
    assert [each.number for each in answer] == [0, 2]
    assert answer[0].left_out == answer[1].left_out == ("Q2: names the subtitles",)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (("", "", "I cannot say."), "2 x empty, 1 x refused"),
        (("一个水壶", "厨师", "哨声"), "3 x not in the language of the clip"),
        (
            ("on " * 90, "the transcript says so", "the lid"),
            "1 x leaks its answer, 1 x names the subtitles, 1 x over-long",
        ),
    ],
)
def test_a_clip_without_a_question_is_dropped_with_the_reasons_counted(
    tmp_path: Path, answers: tuple[str, ...], reason: str
) -> None:
    lines = QUESTIONS.splitlines()
    lines[1::2] = [f"A{number}: {answer}" for number, answer in enumerate(answers, start=1)]
    lines[2] = lines[2].replace("speaks", "speaks in the captions") if "names" in reason else lines[2]
    found, _ = questions(tmp_path, "\n".join(lines))
    assert found == Drop(f"no question kept: {reason}", "\n".join(lines))


@pytest.mark.parametrize("attack", ATTACKS)
def test_neither_subtitles_nor_an_echo_of_them_are_instructions(tmp_path: Path, attack: str) -> None:
    _, model = questions(tmp_path, attack, QUESTIONS, text=attack)
    assert [inside(request.text)["subtitles"] for request in model.asked] == [attack, attack]
    assert not any(obeys(request.text) for request in model.asked)


@pytest.mark.parametrize(
    ("made", "prompts"),
    [
        (Screen, {"screen_complete", "screen_informative"}),
        (Captioning, {"caption_image", "caption_video", "caption_sound", "caption_joint"}),
        (Ask, {"ask", "ask_open", "ask_choice", "ask_again"}),  # ask_sound is a later one
        (Verify, {"verify_answer", "verify_agree"}),
    ],
)
def test_prompts_are_part_of_what_a_step_follows_from(made: type[ModelStep[Any, Any]], prompts: set[str]) -> None:
    assert made().facts()["prompts"] == {name: prompt(name) for name in prompts}


class Killed(BaseException):
    """What a test ends a worker with."""


def test_an_interrupted_step_asks_nothing_twice(tmp_path: Path) -> None:
    notes = str(tmp_path / "notes")
    batch = [asking(footage(tmp_path, f"clip{n}", seed=n), f"{SAID} Number {n}.") for n in range(4)]

    def dies_at_the_third(request: Request) -> str:
        if "Number 2." in request.text:
            raise Killed
        return "unreadable" if "Number 1." in request.text else QUESTIONS

    step = Ask()
    first = ready(step, tmp_path, notes)
    first.reply = dies_at_the_third
    with pytest.raises(Killed):
        step.run(batch)
    step = Ask()
    second = ready(step, tmp_path, notes)
    answers = step.run(batch)
    assert [len(answer) for answer in answers] == [3, 3, 3, 3]  # type: ignore[arg-type]
    assert [inside(r.text)["subtitles"][-9:] for r in second.asked] == ["Number 2.", "Number 3.", "Number 1."]
    assert second.names() == {"ask": 2, "ask_again": 1}
    third = ready(step := Ask(), tmp_path, notes)
    assert step.run(batch) == answers
    assert not third.asked
