"""What is read in an answer, and what many answers come to: numbers worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.scores import ACCURACY, F1, WORD_ERROR, exact_match, letter, spoken

OPTIONS = {"A": "A dog.", "B": "Two cats.", "C": "A bird in a tree", "D": "None of the above"}


@dataclass
class Row:
    reference: str
    parsed: str | None
    score: float = 0.0
    group: str = ""


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("B", "B"),
        (" b.\n", "B"),
        ("(c)", "C"),
        ("**D**", "D"),
        ("B. Two cats.", "B"),
        ("A. A dog.", "A"),
        ("A: a dog", "A"),
        ("A\nBecause it barks.", "A"),
        ("C) A bird, not A", "C"),
        ("B because there are two", "B"),
        ("The best answer is: B", "B"),
        ("The correct answer is (A).", "A"),
        ("Answer: D. None", "D"),
        ("I think that option C is right.", "C"),
        ("two cats", "B"),
        ("A bird in the tree.", "C"),
    ],
)
def test_a_letter_that_is_said(answer: str, chosen: str) -> None:
    assert letter(answer, OPTIONS) == chosen


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "...",
        "E",
        "A man walks a dog",
        "a",
        "A or B",
        "A, B",
        "B and C",
        "A/B",
        "The answer is A or B",
        "The answer is B. The answer is C.",
        "The answer is a dog that barks",
        "Don't know",
        "D'you see?",
        "Because B12 is missing",
        "cats",
    ],
)
def test_no_letter(answer: str) -> None:
    expected = "A" if answer == "a" else None  # nothing but the letter
    assert letter(answer, OPTIONS) == expected


def test_options_that_are_the_same_choose_nothing() -> None:
    assert letter("a dog", {"A": "a dog", "B": "the dog"}) is None
    assert letter("C", {"A": "x", "B": "y"}) is None


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_answer_can_be_read(answer: str) -> None:
    assert letter(answer, OPTIONS) in {*OPTIONS, None}
    parsed = WORD_ERROR.parse(answer, {})
    assert WORD_ERROR.score(parsed, "some words") >= 0


def test_a_group_is_right_if_all_of_it_is() -> None:
    rows = [Row("A", "A", 1, "1"), Row("B", "A", 0, "1"), Row("A", "A", 1, "2"), Row("C", None, 0, "3")]
    assert ACCURACY.total(rows) == pytest.approx(1 / 3)
    assert ACCURACY.score("A", "A") == 1
    assert ACCURACY.score(None, "A") == 0


def test_whispers_normaliser() -> None:
    assert spoken("Mr. Smith's got twenty-two, um, [laughs] DOGS!") == "mister smith has got 22 dogs"
    assert spoken("colour") == "colour"  # no table of spellings


def test_word_error_is_of_all_words() -> None:
    said = ["He began a complaint.", "", "lobsters lobsters and lobsters"]
    references = ["HE BEGAN A CONFUSED COMPLAINT", "TWO WORDS", "LOBSTERS AND LOBSTERS"]
    parsed = [WORD_ERROR.parse(each, {}) for each in said]
    assert parsed[1] is None
    scores = [WORD_ERROR.score(each, reference) for each, reference in zip(parsed, references, strict=True)]
    assert scores == pytest.approx([1 / 5, 1, 1 / 3])
    rows = [Row(reference, each) for reference, each in zip(references, parsed, strict=True)]
    assert WORD_ERROR.total(rows) == pytest.approx((1 + 2 + 1) / 10)
    assert WORD_ERROR.falls


def test_f1_and_exact_match() -> None:
    assert F1.parse("  The kettle. ", {}) == "The kettle."
    assert F1.parse("…", {}) is None
    assert F1.score("a red kettle", "the kettle") == pytest.approx(2 / 3)
    assert F1.score(None, "the kettle") == 0
    rows = [Row("the kettle", "Kettle!", 1), Row("the kettle", "red kettle", 2 / 3), Row("the kettle", None, 0)]
    assert F1.total(rows) == pytest.approx(5 / 9)
    assert exact_match(rows) == pytest.approx(1 / 3)


def test_a_choice_by_f1_is_scored_by_its_words() -> None:
    assert F1.parse("A", OPTIONS) == "A dog."
    assert F1.parse("A or B", OPTIONS) is None
    assert F1.score(F1.parse("A", OPTIONS), "A dog.") == 1
