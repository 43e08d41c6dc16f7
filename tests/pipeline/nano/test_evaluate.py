"""The evaluation: scores of right and wrong answers, and requests with the media of each view."""

from __future__ import annotations

import pytest

from pipeline.synthetic.nano.evaluate import (
    EVALUATED,
    AccuracyTable,
    ClipLesson,
    RequestBuilder,
    answer_value,
    clip_lessons,
    evaluate_model,
    score_answer,
)
from pipeline.synthetic.nano.lessons import Lesson
from tests.pipeline.nano.conftest import Run


@pytest.fixture(scope="module")
def items(run: Run) -> list[ClipLesson]:
    return [item for clip in run.clips() for item in clip_lessons(clip, 0)]


def test_true_answers_score_one(items: list[ClipLesson]) -> None:
    accuracy = AccuracyTable()
    for item in items:
        score_answer(accuracy, item, item.lesson.answer)
    rows = accuracy.rows()
    assert {row["right"] for name, row in rows.items() if not name.endswith("needs both") or "verify" in name} == {1.0}
    assert 0.2 < rows["ask, needs both"]["right"] < 0.7  # a third is a shortcut, and named clips have only those
    assert {item.lesson.name for item in items} == {*EVALUATED}
    assert {"verify_both, needs both", "verify_both, needs text", "verify_video, unknown"} <= rows.keys()


def test_unknown_is_right_for_a_question_with_two_answers(items: list[ClipLesson]) -> None:
    accuracy = AccuracyTable()
    lesson = Lesson("both", "undecided_both", "What?", "two dogs first and second: unknown")
    for said in ("unknown", "two dogs first and second: unknown", "two dogs first colour: blue"):
        score_answer(accuracy, ClipLesson(items[0].clip, lesson), said)
    assert accuracy.rows() == {"undecided_both, unknown": {"right": 0.6667, "n": 3}}


def test_empty_answers_score_zero(items: list[ClipLesson]) -> None:
    accuracy = AccuracyTable()
    for item in items:
        score_answer(accuracy, item, "")
    assert {row["right"] for row in accuracy.rows().values()} == {0.0}


def test_a_wrong_word_lowers_the_share_of_attributes(items: list[ClipLesson]) -> None:
    caption = next(item for item in items if item.lesson.name == "caption_video")
    truth = caption.lesson.answer
    accuracy = AccuracyTable()
    score_answer(accuracy, caption, truth.replace(truth.split()[2], "striped"))
    rows = accuracy.rows()
    assert rows["caption_video, exact"]["right"] == 0
    assert 0.5 < rows["caption_video, attributes"]["right"] < 1


def test_the_value_of_an_answer_is_without_its_part() -> None:
    assert [answer_value(text) for text in ("second: blue", "blue", "always: moves left")] == [
        "blue",
        "blue",
        "moves left",
    ]


def test_each_view_has_its_media(run: Run, items: list[ClipLesson]) -> None:
    shown = RequestBuilder(str(run.root))
    for item in items:
        request = shown.build(item)
        view = item.lesson.view
        assert request.text == item.lesson.prompt
        assert len(request.images) == (view == "image")
        assert (request.video is not None) == (view in ("video", "both"))
        assert len(request.sounds) == (view in ("audio", "both"))


def test_the_limit_is_the_number_of_clips(run: Run) -> None:
    from types import SimpleNamespace

    class Silent:
        """Gives empty answers."""

        def generate(self, requests: list[object], **_: object) -> list[object]:
            return [SimpleNamespace(text="") for _ in requests]

    told: list[str] = []
    rows = evaluate_model(str(run.root), Silent(), limit=2, report=told.append)  # type: ignore[arg-type]
    assert rows["caption_image, exact"] == {"right": 0.0, "n": 2}
    assert told
