"""Words in the text that was read in frames and in captions: both ends, readers' errors, scripts without spaces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pipeline.pack.screen_words import (
    ReadableText,
    answer_on_screen,
    described,
    is_one_edit_away,
    split_glued,
    words_on_screen,
)


@pytest.mark.parametrize(
    ("lines", "said", "share"),
    [
        (["He had then leisure to consider"], "He had then leisure to consider.", 1.0),
        (["Hehadthenleisuretoconsider"], "He had then leisure to consider.", 1.0),  # as it was read
        (["Hehad then leisure", "to consider it"], "he HAD then leisure; to consider it", 1.0),
        (["lei sure to con sider"], "leisure consider", 1.0),
        (["theboatswere gone"], "The boats were gone", 1.0),
        (["Before the stor"], "The storm", 1.0),  # a letter is missing
        (["Before the st0rm"], "The storm", 1.0),
        (["The boat was gone"], "The goat was gone", 0.5),  # four letters: another word
        (["In the year 1995"], "1996", 0.0),  # a digit is no error
        (["CAFÉ ZÜRICH"], "Das Cafe Zurich", 2 / 3),
        (["Sale", "50 % off"], "Nobody had seen the boats", 0.0),
        (["to of and it"], "It was a storm.", 0.0),  # words that tell nothing
        (["that is all"], "That is it.", 2 / 3),  # a text that has no others
        ([], "Nobody had seen the boats", 0.0),
        (["generated"], "the rate", 0.0),  # a word in another one
        (["WelcometotheEiffelTowerofParis"], "The Eiffel Tower", 1.0),
        (["河边没有船了"], "河边没有船", 1.0),
        (["河边没有船了"], "船在河上", 0.0),  # single letters
        (["川には船がもうなかった"], "川に船がない", 4 / 6),
        (["出口"], "口", 1.0),
        (["Корабли ушли"], "корабли ушли", 1.0),
    ],
)
def test_the_share_of_the_words_that_can_be_read(lines: Sequence[str], said: str, share: float) -> None:
    assert ReadableText(lines).share(said) == pytest.approx(share)


def test_a_text_without_words_has_no_share() -> None:
    assert ReadableText(["Sale"]).share("...") is None


@pytest.mark.parametrize(
    ("word", "other", "away"),
    [
        ("storm", "storm", True),
        ("storm", "sturm", True),
        ("storm", "storms", True),
        ("storm", "torm", True),
        ("storm", "stom", True),
        ("storm", "strom", False),
        ("storm", "stormed", False),
        ("storm", "stxrx", False),
    ],
)
def test_one_edit(word: str, other: str, away: bool) -> None:
    assert is_one_edit_away(word, other) is is_one_edit_away(other, word) is away


def test_words_without_spaces_are_split_by_the_words_that_are_said() -> None:
    assert split_glued("hehadthenleisure", ["he", "had", "then", "leisure", "the"]) == ["he", "had", "then", "leisure"]
    assert split_glued("hehadthenlelsure", ["he", "had", "then", "leisure"]) == []
    assert split_glued("generated", ["rate"]) == []


def spoken(*words: tuple[str, float, float]) -> str:
    return json.dumps([{"text": text, "start": start, "end": end} for text, start, end in words])


def shown(lines: Mapping[float, str]) -> str:
    return json.dumps([{"time": time, "text": text, "kind": "subtitle"} for time, text in lines.items()])


SAID = spoken(("Boats", 0.0, 0.5), ("sail.", 0.5, 1.0), ("Storms", 10.0, 10.5), ("come.", 10.5, 11.0))


@pytest.mark.parametrize(
    ("lines", "times", "share"),
    [
        ({0.5: "Boats sail", 10.5: "Storms come"}, [0.5, 5.0, 10.5], 1.0),
        ({10.5: "Boats sail", 0.5: "Storms come"}, [0.5, 10.5], 0.0),  # at other times
        ({0.5: "Boats sail"}, [0.5, 10.5], 0.5),
        ({0.5: "Boats sail"}, [0.5], 1.0),  # of what is said at other times, nothing is known
        ({5.0: "Boats sail"}, [5.0], None),  # nobody speaks then
        ({}, [], None),
    ],
)
def test_words_are_looked_up_in_the_frames_of_their_time(
    lines: Mapping[float, str], times: Sequence[float], share: float | None
) -> None:
    assert words_on_screen(SAID, shown(lines), json.dumps(times)) == share


def test_a_clip_without_transcript_has_no_words_on_screen() -> None:
    assert words_on_screen(None, shown({0.5: "Boats"}), "[0.5]") is None


@pytest.mark.parametrize(
    ("answer", "options", "share"),
    [("The boats sail.", (), 1.0), ("B", ("a train", "a boat that sails"), 0.5), ("B", ("a train", "boats"), 1.0)],
)
def test_the_answer_is_looked_up_in_all_frames(answer: str, options: Sequence[str], share: float) -> None:
    lines = shown({0.5: "Boats", 10.0: "sail"})
    assert answer_on_screen("What do they do?", answer, options, lines) == share
    assert answer_on_screen("What do they do?", answer, options, shown({})) == 0.0


@pytest.mark.parametrize("missing", [("question", None), ("answer", ""), ("lines", None)])
def test_without_question_answer_or_frames_nothing_is_known(missing: tuple[str, Any]) -> None:
    given: dict[str, Any] = {"question": "What?", "answer": "boats", "options": (), "lines": "[]"}
    assert answer_on_screen(**given) == 0.0
    assert answer_on_screen(**{**given, missing[0]: missing[1]}) is None


def test_a_voice_that_says_what_is_seen() -> None:
    caption = "A red car drives along a road. Trees stand beside the road."
    assert described("A red car is driving along the road.", caption) == pytest.approx(4 / 5)
    assert described("I had soup for lunch.", caption) == 0.0
    assert described("car car car soup", caption) == 0.5, "each word counts once"
    assert described(None, caption) is described("A red car", None) is described("", caption) is None
