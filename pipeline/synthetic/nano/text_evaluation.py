"""Evaluate a model on scenes described in text, without media.

Only questions whose answers differ between parts are used. A question of one step is about the picture or about the
sound; a question of two steps goes from one to the other (`while`). Answers are compared as a whole (with intermediate
steps) and by their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from pipeline.synthetic.nano import lookup_examples
from pipeline.synthetic.nano.answers import Exchange, packed_exchange, verify_exchange
from pipeline.synthetic.nano.evaluate import MAX_ANSWER_TOKENS, AccuracyTable, answer_value, generate_answers
from pipeline.synthetic.nano.judge_examples import agreement_examples
from pipeline.synthetic.nano.text_scenes import TextTask, choose_scene, describe_scene
from pipeline.synthetic.world.questions import ALWAYS, make_questions
from stages.text_metrics import exact

if TYPE_CHECKING:
    from stages.evaluation.questions import Answerer

SCENES, SEED = 150, 99
TASKS_PER_SORT = 4  # tasks of each sort for each scene


def evaluate_on_text(
    model: Answerer, scenes: int = SCENES, seed: int = SEED, report: Callable[[str], object] = len
) -> dict[str, dict[str, float]]:
    """Evaluate a model on random scenes of a seed; returns `AccuracyTable.rows`."""
    from ola.prompt import Request

    tasks, accuracy = [task for number in range(scenes) for task in scene_tasks(seed, number)], AccuracyTable()
    for task, answer in generate_answers(
        model, tasks, lambda task: Request(task.exchange.prompt, max_new_tokens=MAX_ANSWER_TOKENS), report
    ):
        score_text_answer(accuracy, task, answer)
    return accuracy.rows()


def scene_tasks(seed: int, number: int) -> Iterator[TextTask]:
    """Yield the tasks of a random scene. The same seed and number give the same tasks."""
    rng = Random(f"read {seed} {number}")
    scene = choose_scene(rng)
    own = [qa for qa in make_questions(scene) if qa.part not in ("", ALWAYS)]
    one, two = ([qa for qa in own if (" while " in qa.question) is crosses] for crosses in (False, True))
    sorts = {
        "part of a word": lookup_examples.heard_part_lookups(scene),
        "from what is heard to what is seen, or back": lookup_examples.cross_modal_lookups(scene),
        "one step": [verify_exchange(scene, qa, "both") for qa in one],
        "two steps": [verify_exchange(scene, qa, "both") for qa in two],
        "two steps, bare": [packed_exchange(qa) for qa in two],
    }
    text = describe_scene(scene)
    for name, exchanges in sorts.items():
        for question, answer in _sample(exchanges, rng):
            yield TextTask(name, Exchange(f"{text}\n\n{question}", answer))
    yield from (
        TextTask("judged", each) for each in agreement_examples(scene, make_questions(scene), TASKS_PER_SORT, rng)
    )


def score_text_answer(accuracy: AccuracyTable, task: TextTask, answer: str) -> None:
    """Compare an answer with the truth and add the result."""
    truth = task.exchange.answer
    accuracy.add(task.name, exact(answer, truth))
    if task.name in ("one step", "two steps"):
        accuracy.add(f"{task.name}, by value", exact(answer_value(answer), answer_value(truth)))


def _sample(exchanges: Sequence[Exchange], rng: Random) -> list[Exchange]:
    return rng.sample(exchanges, min(TASKS_PER_SORT, len(exchanges)))
