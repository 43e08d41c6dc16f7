"""Scores of shortcuts at both ends, and as columns that `pack.where` uses over a group."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Question
from pipeline.cli.whatif import pack_yields
from pipeline.pack import groups, part_candidates
from pipeline.pack.settings import PackSettings
from pipeline.pack.shortcuts import AnswerShares, answer_in_meta, option_length_bias
from pipeline.plan import Plan
from tests.pipeline import test_pack_tasks
from tests.pipeline.test_pack import video
from tests.pipeline.test_pack_tasks import annotated, packed, question_of, verdicts

META = {
    "title": "A beagle visits the Eiffel Tower",
    "description": "Music: Vivaldi",
    "chapters": [
        {"title": "Arrival by train", "start_time": 0, "end_time": 60},
        {"title": "The picnic", "start_time": 60, "end_time": 90},
    ],
}


@pytest.mark.parametrize(
    ("answer", "options", "share"),
    [
        ("The Eiffel Tower", (), 1.0),
        ("the tower of Pisa", (), 0.5),
        ("He is with a red kite.", (), 0.0),
        ("B", ("Bach", "Vivaldi"), 1.0),
        ("A", ("Bach", "Vivaldi"), 0.0),
        ("By train", (), 1.0),
        ("A picnic", (), 0.0),  # a chapter after the clip
        ("", (), None),
    ],
)
def test_words_of_the_answer_are_looked_up_in_title_description_and_chapter(
    answer: str, options: tuple[str, ...], share: float | None
) -> None:
    assert answer_in_meta("What is it?", answer, options, json.dumps(META), 10_000, 20_000) == share
    assert answer_in_meta(None, answer, options, json.dumps(META), 10_000, 20_000) is None


def test_metadata_of_other_forms_hold_no_answer() -> None:
    for meta in ({}, {"title": 7, "chapters": "none"}, {"chapters": [3, {"title": None}]}):
        assert answer_in_meta("What?", "The tower", (), json.dumps(meta), 0, 1000) == 0.0


@pytest.mark.parametrize(
    ("answer", "options", "bias"),
    [
        ("A", ("ten letter", "four", "five!"), 1.0),
        ("B", ("ten letter", "four", "five!"), -0.6),
        ("five!", ("ten letter", "four", "five!"), -0.5),
        ("A", ("same", "even"), 0.0),
        ("something else", ("same", "even"), None),
        ("A", ("alone",), None),
        ("in words", (), None),
    ],
)
def test_the_bias_of_length_is_that_against_the_longest_other_option(
    answer: str, options: tuple[str, ...], bias: float | None
) -> None:
    assert option_length_bias(answer, options) == pytest.approx(bias)


def test_answers_are_counted_within_their_kind_whatever_their_spelling_or_letter() -> None:
    shares = AnswerShares()
    answers = [("Yes.", ()), ("yes", ()), ("B", ("no", "yes")), ("three dogs", ())]
    shares.count({"kind": "what", "answer": answer, "options": options} for answer, options in answers)
    assert shares.share("what", "YES", ()) == 0.75
    assert shares.share("what", "three dogs", None) == 0.25
    assert shares.share("what", "never", ()) == 0.0
    assert shares.share("how", "yes", ()) is None
    shares.count([])
    assert shares.share("what", "yes", ()) is None


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Questions 0 to 2 and 4 of a clip have one answer, but in the clips of the last four videos each has its own."""

    def answered(name: str, number: int) -> Question:
        asked = question_of(name, number)
        own = any(name.startswith(video(n).id) for n in range(4, 8)) and number != 3
        return replace(asked, answer=f"{name} {number}") if own else asked

    def titled(number: int) -> Any:
        return replace(video(number), meta='{"title": "Are you happy?"}')

    monkeypatch.setattr(test_pack_tasks, "question_of", answered)
    monkeypatch.setattr(test_pack_tasks, "video", titled)
    return annotated(tmp_path, [range(4), range(4, 8)])


def test_where_leaves_out_frequent_answers_of_each_group(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    where = "kind = 'cross_modal_qa' AND answer_share < 0.5"
    first = {video(n).id for n in range(4)}
    _, then = pack_yields(plan, PackSettings(), where)
    tasks = packed(plan, where=where)  # one group: 24 of 90 questions have the most frequent answer
    assert {row.video in first for row in tasks} == {True, False}
    assert then.tokens == sum(row.tokens for row in tasks)
    monkeypatch.setattr(groups, "LARGEST_GROUP", 1)
    (Path(plan.root) / groups.GROUPS).unlink()
    monkeypatch.setattr(part_candidates, "BATCH", 1)
    tasks = packed(plan, where=where)  # two groups: 4 of 5 answers of the first are the same
    assert {row.id[-1] for row in tasks if row.video in first} == {"3"}
    assert {row.id[-1] for row in tasks if row.video not in first} == {"0", "3"}


def test_where_leaves_out_answers_that_the_title_gives(plan: Plan) -> None:
    found = verdicts(plan, where="answer_in_meta < 1")
    kept = {
        (name[:20], number)
        for (name, kind, number), reason in found.items()
        if kind == "cross_modal_qa" and reason is None
    }
    assert (video(3).id, 3) in kept  # Boredom
    assert (video(3).id, 0) not in kept  # It is happy
    assert {reason for (_, kind, _), reason in found.items() if kind == "image_caption"} == {"pack.where"}
