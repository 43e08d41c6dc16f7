"""Rules over text, as tables: what is kept, and for which reason the rest is not."""

from __future__ import annotations

import pytest

from pipeline.parsing import (
    KINDS,
    Draft,
    drafts,
    fault,
    flaws,
    foreign,
    language,
    option,
    refused,
    repetition,
    script,
    spoken,
)
from pipeline.prompts import prompt
from stages.wording import exact, f1, words
from tests.pipeline.scripted import QUESTIONS, SAID

CHOICE = """Q1 (count): How often does it knock?
A) once
B) twice
C) three times
D) never
A1: B"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, Mr. O’Neill!", ["dont", "stop", "mr", "oneill"]),
        ("twenty-two  ½", ["twenty", "two", "1", "2"]),
        ("你好 world", ["你", "好", "world"]),
        ("की बात", ["की", "बात"]),
        ("♪ … —", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_what_is_spoken_is_left_of_a_subtitle() -> None:
    assert words(spoken("[Music] ♪ (applause) 【音楽】*sighs*")) == []
    assert spoken("[door slams] Who is there? ♪") == "Who is there?"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("", 0, 0), ("la", 0, 0), (SAID, 0, 0.1), ("thank you so much " * 10, 0.85, 1), ("la " * 8, 0.8, 1)],
)
def test_repetition(text: str, low: float, high: float) -> None:
    assert low <= repetition(text) <= high


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Hello there", "LATIN"), ("привет", "CYRILLIC"), ("こんにちは世界", "CJK"), ("42!", None), ("ＡＢＣ", "LATIN")],
)
def test_script(text: str, expected: str | None) -> None:
    assert script(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SAID, "en"),
        ("Der Mann stellt den Kessel auf den Herd und wartet.", "de"),
        ("El hombre pone la tetera en el fuego y espera con ella.", "es"),
        ("L'homme pose la bouilloire sur le feu et il attend dans une cuisine.", "fr"),
        ("kettle", None),
        ("", None),
    ],
)
def test_language(text: str, expected: str | None) -> None:
    assert language(text) == expected


@pytest.mark.parametrize(
    ("text", "like", "expected"),
    [
        ("the man", SAID, False),
        ("他在说话", SAID, True),
        ("苹果", SAID, True),
        ("Он говорит о погоде", SAID, True),
        ("Der Mann ist nicht in der Küche", SAID, True),
        ("Google", "今天我们谈谈谷歌", False),
        ("The man speaks about the search engine", "今天我们谈谈谷歌", True),
        ("3", SAID, False),
        ("whatever", "♪", False),
    ],
)
def test_foreign(text: str, like: str, expected: bool) -> None:
    assert foreign(text, like) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I cannot help with that.", True),
        ("I can't hear any sound.", True),
        ("As an AI, I do not watch videos.", True),
        ("I'm sorry, but there is no clip.", True),
        ("Sorry, I am unable to say.", True),
        ("抱歉，我无法回答", True),
        ("作为一个人工智能", True),
        ("He says that he cannot come.", False),
        ("I'm sorry for your loss", False),
    ],
)
def test_refused(text: str, expected: bool) -> None:
    assert refused(text) is expected


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("", "stop", "empty"),
        (" …\n", "stop", "empty"),
        ("I cannot.", "stop", "refused"),
        ("and so on and", "length", "cut off"),
        ("A cook.", "stop", None),
    ],
)
def test_fault(text: str, finish: str, expected: str | None) -> None:
    assert fault(text, finish) == expected


def test_exact_match_and_f1_leave_articles_case_and_punctuation_out() -> None:
    assert exact("The red kettle.", "a Red kettle")
    assert not exact("", "")
    assert not exact("red", "red kettle")
    assert f1("a red kettle", "the kettle") == pytest.approx(2 * 1 / 3)
    assert f1("the the the", "the") == 0.0
    assert f1("kettle kettle", "kettle") == pytest.approx(2 / 3)
    assert f1("pot", "kettle") == 0.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", "two"),
        ("B) two", "two"),
        ("(C).", "three"),
        ("Three", "three"),
        ("Because", "Because"),
        ("five", "five"),
        ("", ""),
    ],
)
def test_which_option_is_meant(answer: str, expected: str) -> None:
    assert option(answer, ("one", "two", "three", "four")) == expected


def test_questions_in_their_form() -> None:
    read = drafts(QUESTIONS.replace("\n", "\n\n "), 3)
    assert [draft.kind for draft in read] == ["speech", "source", "order"]
    assert read[0] == Draft("speech", "What does the cook put on the stove?", "a red kettle")


def test_a_multiple_choice_in_its_form() -> None:
    options = ("once", "twice", "three times", "never")
    expected = [Draft("count", "How often does it knock?", "twice", options, "B")]
    assert drafts(CHOICE, 1, choice=True) == expected
    assert drafts(CHOICE.replace("A1: B", "A1: B) twice"), 1, choice=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"Here are three questions:\n{QUESTIONS}", "line 1 is not as it should be: 'Q1 (speech"),
        (QUESTIONS.replace("(source)", "(sauce)"), "line 3 is not as it should be: 'Q2 (speech"),
        (QUESTIONS.replace("A2:", "A3:"), "line 4 is not as it should be: 'A2: answer'"),
        (QUESTIONS.rpartition("\n")[0], "line 6 is missing: 'A3: answer'"),
        (f"{QUESTIONS}\nI hope this helps!", "line 7 is one too many"),
        ("", "line 1 is missing"),
        ('[{"question": "Who?"}]', "line 1 is not as it should be"),
    ],
)
def test_what_leaves_the_form_is_named_without_a_word_of_it(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="line") as error:
        drafts(text, 3)
    assert str(error.value).startswith(message)
    assert "hope" not in str(error.value)


@pytest.mark.parametrize("text", [CHOICE.replace("A1: B", "A1: E"), CHOICE.replace("A1: B", "A1: twice"), QUESTIONS])
def test_a_choice_is_answered_by_a_letter(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        drafts(text, 1, choice=True)


def test_the_prompt_names_each_kind() -> None:
    assert [line[2:].partition(":")[0] for line in prompt("ask").splitlines() if line.startswith("- ")] == list(KINDS)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("What is put on the stove?", "a red kettle", None),
        ("What is put on the stove?", "", "empty"),
        ("???", "a red kettle", "empty"),
        ("What " + "on and on " * 40, "a kettle", "over-long"),
        ("What is put on the stove?", "a kettle " * 41, "over-long"),
        ("What is put on the stove?", "I cannot hear the sound.", "refused"),
        ("As an AI, what do I hear?", "a kettle", "refused"),
        ("What do the subtitles say?", "a kettle", "names the subtitles"),
        ("What is put on the stove?", "The transcript says a kettle", "names the subtitles"),
        ("What does the caption tell?", "a kettle", "names the subtitles"),
        ("Is the red kettle put on the stove?", "The red kettle.", "leaks its answer"),
        ("What is put on the stove?", "一个红色的水壶", "not in the language of the clip"),
        ("炉子上放了什么？", "a kettle", "not in the language of the clip"),
        ("Was ist das auf dem Herd?", "der Kessel", "not in the language of the clip"),
    ],
)
def test_rules_for_one_question(question: str, answer: str, reason: str | None) -> None:
    assert flaws([Draft("speech", question, answer)], SAID) == [reason]


def test_rules_between_the_questions_of_a_clip() -> None:
    asked = [
        Draft("speech", "What is put on the stove by the cook?", "a kettle"),
        Draft("speech", "What is put on the stove by this cook?", "a pot of tea"),
        Draft("order", "What whistles at the end?", "The kettle!"),
        Draft("speech", "What do the subtitles tell about tea?", "it is hot"),
        Draft("mood", "Is she glad?", "It is hot"),
    ]
    assert flaws(asked, SAID) == [None, "repeats a question", "repeats an answer", "names the subtitles", None]


def test_options_differ_and_are_there() -> None:
    def of(*options: str) -> list[str | None]:
        return flaws([Draft("count", "How often does it knock?", options[0], options, "A")], SAID)

    assert of("once", "twice", "never", "often") == [None]
    assert of("once", "twice", "Twice.", "often") == ["repeats an option"]
    assert of("once", "twice", "", "often") == ["empty"]
