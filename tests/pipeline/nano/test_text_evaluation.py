"""The evaluation on scenes in text: its tasks, and the scores of answers."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.synthetic.nano.answers import Exchange
from pipeline.synthetic.nano.evaluate import AccuracyTable
from pipeline.synthetic.nano.text_evaluation import evaluate_on_text, scene_tasks, score_text_answer
from pipeline.synthetic.nano.text_scenes import TextTask

NAMES = {
    *("part of a word", "from what is heard to what is seen, or back"),
    *("one step", "two steps", "two steps, bare", "judged"),
}


def test_all_sorts_of_tasks_occur_and_repeat_with_the_seed() -> None:
    tasks = [task for number in range(20) for task in scene_tasks(99, number)]
    assert tasks == [task for number in range(20) for task in scene_tasks(99, number)]
    assert {task.name for task in tasks} == NAMES
    for name, (asked, answer) in tasks:
        question = asked.rpartition("\n")[2]
        assert name.startswith("two steps") == (" while " in question and name != "judged")
        assert "always" not in answer


@pytest.mark.parametrize(
    ("said", "right"),
    [("siren first colour: blue", (1, 1)), ("beep second colour: blue", (0, 1)), ("siren first colour: red", (0, 0))],
)
def test_an_answer_is_right_as_a_whole_or_by_its_value(said: str, right: tuple[int, int]) -> None:
    accuracy = AccuracyTable()
    score_text_answer(accuracy, TextTask("two steps", Exchange("", "siren first colour: blue")), said)
    assert (accuracy.right["two steps"], accuracy.right["two steps, by value"]) == right


def test_a_model_with_the_right_answers_scores_one() -> None:
    known = {task.exchange.prompt: task.exchange.answer for number in range(5) for task in scene_tasks(99, number)}
    counts = Counter[str]()

    class Knowing:
        def generate(self, requests: list[Any], **_: object) -> list[Any]:
            counts["asked"] += len(requests)
            return [SimpleNamespace(text=known[request.text]) for request in requests]

    rows = evaluate_on_text(Knowing(), 5)  # type: ignore[arg-type]
    assert {row["right"] for row in rows.values()} == {1.0}
    assert counts["asked"] == sum(row["n"] for name, row in rows.items() if "by value" not in name)
