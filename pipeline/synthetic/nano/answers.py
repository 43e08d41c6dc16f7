"""Write the answers to a scene's questions under each view of its clip. No media are read.

Before its value an answer states intermediate steps: the name in the question, the part of the clip where it occurs,
and the requested attribute (`two dogs second colour: blue`). Each word then follows from the words right before it. A
small decoder learns such answers, but not values alone. For motions the steps also state the position in each picture
(`red circle first 275 255 motion: rises`). If the view does not suffice, the answer is `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from pipeline.annotation.annotator import fill_prompt
from pipeline.annotation.text_rules import format_question
from pipeline.steps.verify import VIEWS
from pipeline.synthetic.nano.motion_examples import describe_motions, intermediate_steps
from pipeline.synthetic.world.questions import ALWAYS, FORMS, QAPair, ambiguous_questions, make_questions
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.vocabulary import COLOURS, MOTIONS, NOUNS, NUMBERS, SHAPES, SOUNDS

UNKNOWN = "unknown"
SUFFICIENT_VIEWS = {"both": ("both",), "video": ("both", "video"), "audio": ("both", "audio"), "text": VIEWS}
"""Needs of a question -> views that suffice for an answer."""
REQUESTED_ATTRIBUTE = {
    **{f"{kind} while": kind for kind in ("seen", "colour", "shape", "motion", "size", "heard")},
    **{f"{kind} of": kind for kind in ("colour", "shape", "motion")},
    **{f"{kind} after": f"then {kind}" for kind in ("seen", "heard")},
    **dict.fromkeys(("said while", "said"), "words"),
    **dict.fromkeys(("counted while", "counted"), "number"),
    "colour named": "colour",
    "meets": "meet",
}
"""Form of a question -> attribute that is requested of its part."""
SCENES_PER_SEED = 100_000  # scenes of a seed that are chosen from

_HIDDEN_SLOTS = {"video": "{sound}", "audio": "{sight}"}  # view -> slot whose content it cannot show
_WORD_PAIRS = ((COLOURS, SHAPES), (NUMBERS, NOUNS))
_PAIR_PATTERNS = (f"(?:{'|'.join(firsts)}) (?:{'|'.join(lasts)})" for firsts, lasts in _WORD_PAIRS)
_NAMES = re.compile("|".join((*_PAIR_PATTERNS, *MOTIONS, *NOUNS, *(f"the {sound}" for sound in SOUNDS))))


class Exchange(NamedTuple):
    """A prompt and its answer."""

    prompt: str
    answer: str


def answer_with_steps(scene: Scene, qa: QAPair, value: str) -> str:
    """Return an answer with intermediate steps before its value; only the value if the question is about no part."""
    if not qa.part:
        return value
    about, kind = [] if qa.part == ALWAYS else _named_things(qa.question)[:1], REQUESTED_ATTRIBUTE[qa.form]
    whom = [f"{name} and {value.removeprefix('the ')}" for name in about if kind == "meet"]
    steps = [*about, qa.part, *intermediate_steps(scene, qa.part, kind), *whom, kind]
    return f"{_motion_preamble(scene, qa.question) if about else ''}{' '.join(steps)}: {value}"


def _motion_preamble(scene: Scene, question: str) -> str:
    """Return the motions of all parts if the question refers to a motion, else an empty text."""
    return f"{describe_motions(scene)}, " if "while something " in question else ""


def _named_things(question: str) -> list[str]:
    """Return the names in a question, without articles."""
    return [name.removeprefix("the ") for name in _NAMES.findall(question)]


def answer_under_view(scene: Scene, qa: QAPair, view: str) -> str:
    """Return the answer with intermediate steps, or `UNKNOWN` if the view does not suffice."""
    return answer_with_steps(scene, qa, qa.answer) if view in SUFFICIENT_VIEWS[qa.needs] else UNKNOWN


def verify_exchange(scene: Scene, qa: QAPair, view: str) -> Exchange:
    """Return the prompt of `verify` for a question, with its answer under a view."""
    return Exchange(verify_prompt(qa.question), answer_under_view(scene, qa, view))


def unknown_exchange(qa: QAPair) -> Exchange:
    """Return the prompt of `verify` for a question that has no answer."""
    return Exchange(verify_prompt(qa.question), UNKNOWN)


def ambiguous_exchanges(scene: Scene) -> list[Exchange]:
    """Return the prompts of `verify` for questions with several answers, answered `… first and second: unknown`."""
    return [
        Exchange(
            verify_prompt(question),
            f"{_motion_preamble(scene, question)}{_named_things(question)[0]} {parts}: {UNKNOWN}",
        )
        for question, parts in ambiguous_questions(scene).items()
    ]


def packed_exchange(qa: QAPair) -> Exchange:
    """Return a question and its answer as in packed tasks, without intermediate steps."""
    return Exchange(qa.question, qa.answer)


def verify_prompt(question: str) -> str:
    """Return the prompt of `verify` for a question."""
    return fill_prompt("verify_answer", question=format_question(question, ()))


def foreign_questions(scene: Scene, own: Sequence[QAPair], count: int, rng: Random) -> list[QAPair]:
    """Choose at most `count` questions of another scene of the same seed that name nothing of this scene."""
    scene_names, own_questions = names_in_scene(scene), {qa.question for qa in own}
    other = compose_scene(scene.seed, rng.randrange(SCENES_PER_SEED))
    candidates = [qa for qa in make_questions(other) if qa.question not in own_questions]
    absent = [qa for qa in candidates if (names := names_in_question(qa)) and names.isdisjoint(scene_names)]
    return rng.sample(absent, min(count, len(absent)))


def is_unanswerable(question: QAPair, own: Sequence[QAPair], view: str) -> bool:
    """Return whether a view shows that a question of another scene has no answer.

    The picture cannot show that a sound is missing. If all sights have the same answer, it seems to be the right one.
    """
    hidden = _HIDDEN_SLOTS.get(view, "")
    if not hidden or hidden not in FORMS[question.form][1]:
        return True
    return any(qa.form == question.form and qa.needs == "both" for qa in own)


def names_in_question(qa: QAPair) -> set[str]:
    """Return figures, phrases, motions, nouns and signals named in a question; nothing if it needs no clip."""
    return set() if qa.needs == "text" else set(_NAMES.findall(qa.question))


def names_in_scene(scene: Scene) -> set[str]:
    """Return all names of a scene that a question could contain."""
    return set(_iterate_names(scene))


def _iterate_names(scene: Scene) -> Iterator[str]:
    for sight in scene.sights:
        yield from (sight.motion, *(figure.name for figure in sight.figures))
    for sound in scene.sounds:
        yield from (sound.text, sound.text.split()[-1], f"the {sound.name}")
