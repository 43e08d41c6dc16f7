"""Evaluate a model on scenes described in text, before any medium is shown to it.

Asked is only where the parts of a scene differ. A question of one step is about what is seen or about what is heard;
one of two goes from one to the other (`while`). Each is right as a whole, with how it is come by, or by its value.
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
TASKS_PER_SORT = 4  # that are asked of a scene, where it has so many


def evaluate_on_text(
    model: Answerer, scenes: int = SCENES, seed: int = SEED, report: Callable[[str], object] = len
) -> dict[str, dict[str, float]]:
    """Ask a model about written scenes of a seed: the share of right answers and their number, by what was asked."""
    from ola.prompt import Request

    tasks, accuracy = [task for number in range(scenes) for task in scene_tasks(seed, number)], AccuracyTable()
    for task, said in generate_answers(
        model, tasks, lambda task: Request(task.exchange.prompt, max_new_tokens=MAX_ANSWER_TOKENS), report
    ):
        score_text_answer(accuracy, task, said)
    return accuracy.rows()


def scene_tasks(seed: int, number: int) -> Iterator[TextTask]:
    """What is asked of a scene, the same for the same numbers."""
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
        for asked, answer in _sample(exchanges, rng):
            yield TextTask(name, Exchange(f"{text}\n\n{asked}", answer))
    yield from (
        TextTask("judged", each) for each in agreement_examples(scene, make_questions(scene), TASKS_PER_SORT, rng)
    )


def score_text_answer(accuracy: AccuracyTable, task: TextTask, said: str) -> None:
    """Add what an answer is worth."""
    truth = task.exchange.answer
    accuracy.add(task.name, exact(said, truth))
    if task.name in ("one step", "two steps"):
        accuracy.add(f"{task.name}, by value", exact(answer_value(said), answer_value(truth)))


def _sample(exchanges: Sequence[Exchange], rng: Random) -> list[Exchange]:
    return rng.sample(exchanges, min(TASKS_PER_SORT, len(exchanges)))
