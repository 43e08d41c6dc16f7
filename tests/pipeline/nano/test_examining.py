"""An examination finds what is right and what is wrong, and asks with the media that each view has."""

from __future__ import annotations

import pytest

from pipeline.synthetic.nano.evaluate import ASKED, Item, Marks, Showing, examine, items_of, mark, value_of
from pipeline.synthetic.nano.lessons import Lesson
from tests.pipeline.nano.conftest import Run


@pytest.fixture(scope="module")
def items(run: Run) -> list[Item]:
    return [item for clip in run.clips() for item in items_of(clip, 0)]


def test_the_truth_is_right_in_all(items: list[Item]) -> None:
    marks = Marks()
    for item in items:
        mark(marks, item, item.lesson.answer)
    rows = marks.rows()
    assert {row["right"] for name, row in rows.items() if name != "ask, needs both"} == {1.0}
    assert 0.2 < rows["ask, needs both"]["right"] < 0.7  # a third is a shortcut, and named clips have only those
    assert {item.lesson.name for item in items} == {*ASKED}
    assert {"verify_both, needs both", "verify_both, needs text", "verify_video, unknown"} <= rows.keys()


def test_to_know_that_there_are_two_answers_is_right(items: list[Item]) -> None:
    marks = Marks()
    lesson = Lesson("both", "undecided_both", "What?", "two dogs first and second: unknown")
    for said in ("unknown", "two dogs first and second: unknown", "two dogs first colour: blue"):
        mark(marks, Item(items[0].clip, lesson), said)
    assert marks.rows() == {"undecided_both, unknown": {"right": 0.6667, "n": 3}}


def test_what_is_wrong_is_found(items: list[Item]) -> None:
    marks = Marks()
    for item in items:
        mark(marks, item, "")
    assert {row["right"] for row in marks.rows().values()} == {0.0}


def test_a_wrong_word_costs_its_share(items: list[Item]) -> None:
    caption = next(item for item in items if item.lesson.name == "caption_video")
    truth = caption.lesson.answer
    marks = Marks()
    mark(marks, caption, truth.replace(truth.split()[2], "striped"))
    rows = marks.rows()
    assert rows["caption_video, exact"]["right"] == 0
    assert 0.5 < rows["caption_video, attributes"]["right"] < 1


def test_the_part_of_an_answer_is_no_part_of_its_value() -> None:
    assert [value_of(text) for text in ("second: blue", "blue", "always: moves left")] == ["blue", "blue", "moves left"]


def test_each_view_has_its_media(run: Run, items: list[Item]) -> None:
    shown = Showing(str(run.root))
    for item in items:
        request = shown.request(item)
        view = item.lesson.view
        assert request.text == item.lesson.asked
        assert len(request.images) == (view == "image")
        assert (request.video is not None) == (view in ("video", "both"))
        assert len(request.sounds) == (view in ("audio", "both"))


def test_all_clips_are_asked_about(run: Run) -> None:
    from types import SimpleNamespace

    class Silent:
        """Says nothing to each."""

        def generate(self, requests: list[object], **_: object) -> list[object]:
            return [SimpleNamespace(text="") for _ in requests]

    told: list[str] = []
    rows = examine(str(run.root), Silent(), limit=2, say=told.append)  # type: ignore[arg-type]
    assert rows["caption_image, exact"] == {"right": 0.0, "n": 2}
    assert told
