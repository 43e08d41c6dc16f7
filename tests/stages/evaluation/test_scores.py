"""Parsing of answers and their scores: numbers worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.choice_parsing import chosen_letter
from stages.evaluation.scores import ACCURACY, F1, exact_match, normalize_speech, word_error_metric

WORD_ERROR = word_error_metric()
OPTIONS = {"A": "A dog.", "B": "Two cats.", "C": "A bird in a tree", "D": "None of the above"}


@dataclass
class Row:
    reference: str
    parsed: str | None
    score: float = 0.0
    group: str = ""


@pytest.mark.parametrize(
    ("answer", "expected"),
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
def test_a_letter_that_is_said(answer: str, expected: str) -> None:
    assert chosen_letter(answer, OPTIONS) == expected


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
    assert chosen_letter(answer, OPTIONS) == expected


def test_options_that_are_the_same_choose_nothing() -> None:
    assert chosen_letter("a dog", {"A": "a dog", "B": "the dog"}) is None
    assert chosen_letter("C", {"A": "x", "B": "y"}) is None
    assert chosen_letter("A", {}) is None


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_answer_can_be_read(answer: str) -> None:
    assert chosen_letter(answer, OPTIONS) in {*OPTIONS, None}
    parsed = WORD_ERROR.parse(answer, {})
    assert WORD_ERROR.score(parsed, "some words") >= 0


def test_a_group_is_right_if_all_of_it_is() -> None:
    rows = [Row("A", "A", 1, "1"), Row("B", "A", 0, "1"), Row("A", "A", 1, "2"), Row("C", None, 0, "3")]
    assert ACCURACY.total(rows) == pytest.approx(1 / 3)
    assert ACCURACY.score("A", "A") == 1
    assert ACCURACY.score(None, "A") == 0


def test_whispers_normaliser() -> None:
    assert normalize_speech("Mr. Smith's got twenty-two, um, [laughs] DOGS!") == "mister smith has got 22 dogs"
    assert normalize_speech("colour") == "colour"  # no table of spellings


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


WORDS_WRONG = {
    "en": ("The quick brown fox jumps over", "the slow brown fox jumps under", 2 / 6),
    "pt": ("Um cachorro preto na rua", "Cachorro preto na rua", 1 / 5),
    "de": ("Er geht um die Ecke", "Er geht die Ecke", 1 / 5),
    "fr": ("L'été est très beau ici", "L’hiver est très beau", 2 / 5),
    "tr": ("İstanbul çok güzel bir şehir", "istanbul cok güzel şehir", 2 / 5),
    "ru": ("Сегодня очень хорошая погода", "сегодня плохая погода.", 2 / 4),
    "hi": ("मेरा नाम राम है और मैं", "मेरा नाम श्याम है और मै", 2 / 6),
    "ta": ("நான் இன்று பள்ளிக்கு செல்கிறேன் நீ வா", "நான் நேற்று பள்ளிக்கு செல்கிறேன் நீ வோ", 2 / 6),
    "ar": ("الطقس جميل اليوم جدا", "الطقس سيء اليوم", 2 / 4),
    "fa": ("می\u200cخواهم بروم خانه", "می\u200cخواهم بروم مدرسه", 1 / 3),
    "ko": ("오늘 날씨가 아주 좋다", "오늘 날씨가 매우 좋다.", 1 / 4),
    "zh": ("今天天气很好。", "今天天气不好", 1 / 6),
    "ja": ("今日は雨です", "今日は晴れです。", 2 / 6),
    "th": ("สวัสดีครับ", "สวัสดีดรับ", 1 / 10),
}


@pytest.mark.parametrize("code", WORDS_WRONG)
def test_word_error_counts_the_words_of_each_language(code: str) -> None:
    reference, answer, expected = WORDS_WRONG[code]
    assert WORD_ERROR.score(WORD_ERROR.parse(answer, {}), reference) == pytest.approx(expected)
    assert WORD_ERROR.score(WORD_ERROR.parse(reference, {}), reference) == 0


def test_short_references_are_in_the_language_of_the_others() -> None:
    english = word_error_metric(["Mr Smith is in the house", "she was at the door of it"])
    assert english.score("Mister Smith got 22, um, dogs", "Mr. Smith got twenty-two dogs") == 0
    german = word_error_metric(["Er geht um die Ecke", "das ist nicht wahr"])
    assert german.score("Stunde", "Um Stunde") == pytest.approx(1 / 2)


CHOICES = {
    "sounds": {"A": "A steady tone", "B": "A dog", "C": "A car horn", "D": "Silence"},
    "zh": {"A": "猫", "B": "狗", "C": "鸟", "D": "鱼"},
    "degrees": {"A": "5 degrees", "B": "-5 degrees", "C": "15 degrees", "D": "-15 degrees"},
    "names": {"A": "C++", "B": "C", "C": "C#", "D": "Java"},
    "yes": {"A": "Yes", "B": "Yes, but slowly", "C": "No", "D": "Maybe"},
}
CHOSEN = {
    "sounds": """A steady tone=A|A steady tone.=A|A steady tone is heard=A|a dog=B|It is a dog.=B|It is B.=B|b) a dog=B
        |A A steady tone=A|The answer is A.=A|I would go with D=D|\\boxed{C}=C|<answer>B</answer>=B|C is correct=C
        |The correct answer is **C. A car horn**=C|It is not B, it is C.=C|Die Antwort ist B=B|La respuesta es la C.=C
        |A car horn, because it beeps=C|Answer: A dog=B|A car=|A man=|A dog or a car horn=|B or C=|C'est un chien=""",
    "zh": """答案是B=B|选B=B|正确答案是 B。=B|我选A=A|B是正确的=B|不选A，选B=B|A是错误的，答案是B=B|狗=B|答案是狗=B|Ｂ=B
        |（B）=B|B、狗=B|因为图中有狗，所以选B=B|A和B=|答案是A或B=|这是猫和狗=""",
    "degrees": "-5 degrees=B|5 degrees=A|−15 degrees.=D|It is -5 degrees=B|D=D|25 degrees=",
    "names": "C++=A|C=C|c#=C|The answer is C++.=A|Answer: B=B",
    "yes": "Yes.=A|Yes, but slowly=B|Yes, but slowly and surely=|No, it is not=C",
}


@pytest.mark.parametrize("named", CHOICES)
def test_which_option_an_answer_chooses(named: str) -> None:
    for case in CHOSEN[named].split("|"):
        answer, _, expected = case.strip().rpartition("=")
        assert (answer, chosen_letter(answer, CHOICES[named])) == (answer, expected or None)
