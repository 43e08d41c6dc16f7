"""Evaluate a model on scenes described in text, before any medium is shown to it.

Asked is only where the parts of a scene differ. A question of one step is about what is seen or about what is heard;
one of two goes from one to the other (`while`). Each is right as a whole, with how it is come by, or by its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from pipeline.synthetic.nano import lookup_examples
from pipeline.synthetic.nano.answers import Exchange, bare, checked
from pipeline.synthetic.nano.evaluate import LONGEST, Marks, answered, value_of
from pipeline.synthetic.nano.judge_examples import agreeing
from pipeline.synthetic.nano.text_scenes import Named, drawn, scene_in_words
from pipeline.synthetic.world.questions import ALWAYS, questions
from stages.text_metrics import exact

if TYPE_CHECKING:
    from stages.evaluation.questions import Answerer

SCENES, SEED = 150, 99
OF_EACH = 4  # that are asked of a scene, where it has so many


def read(
    model: Answerer, scenes: int = SCENES, seed: int = SEED, say: Callable[[str], object] = len
) -> dict[str, dict[str, float]]:
    """Ask a model about written scenes of a seed: the share of right answers and their number, by what was asked."""
    from ola.prompt import Request

    tasks, marks = [task for number in range(scenes) for task in tasks_of(seed, number)], Marks()
    for task, said in answered(model, tasks, lambda task: Request(task.exchange.asked, max_new_tokens=LONGEST), say):
        mark(marks, task, said)
    return marks.rows()


def tasks_of(seed: int, number: int) -> Iterator[Named]:
    """What is asked of a scene, the same for the same numbers."""
    chance = Random(f"read {seed} {number}")
    scene = drawn(chance)
    own = [posed for posed in questions(scene) if posed.part not in ("", ALWAYS)]
    one, two = ([posed for posed in own if (" while " in posed.question) is crosses] for crosses in (False, True))
    sorts = {
        "part of a word": lookup_examples.parts_heard(scene),
        "from what is heard to what is seen, or back": lookup_examples.over_both(scene),
        "one step": [checked(scene, posed, "both") for posed in one],
        "two steps": [checked(scene, posed, "both") for posed in two],
        "two steps, bare": [bare(posed) for posed in two],
    }
    text = scene_in_words(scene)
    for name, exchanges in sorts.items():
        for asked, answer in _some(exchanges, chance):
            yield Named(name, Exchange(f"{text}\n\n{asked}", answer))
    yield from (Named("judged", each) for each in agreeing(scene, questions(scene), OF_EACH, chance))


def mark(marks: Marks, task: Named, said: str) -> None:
    """Add what an answer is worth."""
    truth = task.exchange.answer
    marks.add(task.name, exact(said, truth))
    if task.name in ("one step", "two steps"):
        marks.add(f"{task.name}, by value", exact(value_of(said), value_of(truth)))


def _some(exchanges: Sequence[Exchange], chance: Random) -> list[Exchange]:
    return chance.sample(exchanges, min(OF_EACH, len(exchanges)))
