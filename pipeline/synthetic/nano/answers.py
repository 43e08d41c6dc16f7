"""Answers to a scene's questions under each view of its clip. No medium is read.

An answer says how it is come by: what the question names, the part of the clip in which that is, and what is asked of
it, before the value (`two dogs second colour: blue`). Each word then follows from those right before it, which a small
decoder learns where it does not learn the value alone; of what moves it notes first where that is in each picture (`red
circle first 275 255 motion: rises`). Where a view does not suffice, the answer is `unknown`.
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
"""What a question needs -> the views that answer it."""
REQUESTED_ATTRIBUTE = {
    **{f"{kind} while": kind for kind in ("seen", "colour", "shape", "motion", "size", "heard")},
    **{f"{kind} of": kind for kind in ("colour", "shape", "motion")},
    **{f"{kind} after": f"then {kind}" for kind in ("seen", "heard")},
    **dict.fromkeys(("said while", "said"), "words"),
    **dict.fromkeys(("counted while", "counted"), "number"),
    "colour named": "colour",
    "meets": "meet",
}
"""Form of a question -> what is asked of the part that it is about."""
SCENES_PER_SEED = 100_000  # a split's seeds have so many scenes each to choose from

_HIDDEN_SLOTS = {"video": "{sound}", "audio": "{sight}"}  # view -> what a question names that cannot be told in it
_WORD_PAIRS = ((COLOURS, SHAPES), (NUMBERS, NOUNS))
_PAIR_PATTERNS = (f"(?:{'|'.join(firsts)}) (?:{'|'.join(lasts)})" for firsts, lasts in _WORD_PAIRS)
_NAMES = re.compile("|".join((*_PAIR_PATTERNS, *MOTIONS, *NOUNS, *(f"the {sound}" for sound in SOUNDS))))


class Exchange(NamedTuple):
    """What is asked, and what is answered to it."""

    prompt: str
    answer: str


def answer_with_steps(scene: Scene, qa: QAPair, value: str) -> str:
    """A value as the answer to a question of a scene, with how it is come by; alone where it is of no part."""
    if not qa.part:
        return value
    about, kind = [] if qa.part == ALWAYS else _named_things(qa.question)[:1], REQUESTED_ATTRIBUTE[qa.form]
    whom = [f"{name} and {value.removeprefix('the ')}" for name in about if kind == "meet"]
    steps = [*about, qa.part, *intermediate_steps(scene, qa.part, kind), *whom, kind]
    return f"{_motion_preamble(scene, qa.question) if about else ''}{' '.join(steps)}: {value}"


def _motion_preamble(scene: Scene, question: str) -> str:
    """All motions, where a question speaks of something by its motion."""
    return f"{describe_motions(scene)}, " if "while something " in question else ""


def _named_things(question: str) -> list[str]:
    """What a question names, without its article."""
    return [name.removeprefix("the ") for name in _NAMES.findall(question)]


def answer_under_view(scene: Scene, qa: QAPair, view: str) -> str:
    """With how it is come by, or `UNKNOWN` where the view does not suffice."""
    return answer_with_steps(scene, qa, qa.answer) if view in SUFFICIENT_VIEWS[qa.needs] else UNKNOWN


def verify_exchange(scene: Scene, qa: QAPair, view: str) -> Exchange:
    """A question of a scene as `verify` asks it under a view."""
    return Exchange(verify_prompt(qa.question), answer_under_view(scene, qa, view))


def unknown_exchange(qa: QAPair) -> Exchange:
    """A question as `verify` asks it where there is no answer to it."""
    return Exchange(verify_prompt(qa.question), UNKNOWN)


def ambiguous_exchanges(scene: Scene) -> list[Exchange]:
    """Questions of a scene that have more than one answer, as `verify` asks them: in which parts is told before."""
    return [
        Exchange(
            verify_prompt(question),
            f"{_motion_preamble(scene, question)}{_named_things(question)[0]} {parts}: {UNKNOWN}",
        )
        for question, parts in ambiguous_questions(scene).items()
    ]


def packed_exchange(qa: QAPair) -> Exchange:
    """A question and its answer, as they are packed."""
    return Exchange(qa.question, qa.answer)


def verify_prompt(question: str) -> str:
    """The text of the request."""
    return fill_prompt("verify_answer", question=format_question(question, ()))


def foreign_questions(scene: Scene, own: Sequence[QAPair], count: int, rng: Random) -> list[QAPair]:
    """At most `count` questions of another scene of its split's seed, about what this one does not have."""
    has, known = names_in_scene(scene), {qa.question for qa in own}
    other = compose_scene(scene.seed, rng.randrange(SCENES_PER_SEED))
    found = [qa for qa in make_questions(other) if qa.question not in known]
    apart = [qa for qa in found if (names := names_in_question(qa)) and names.isdisjoint(has)]
    return rng.sample(apart, min(count, len(apart)))


def is_unanswerable(stranger: QAPair, own: Sequence[QAPair], view: str) -> bool:
    """Whether a view shows that there is no answer to a question of another scene.

    Who only sees cannot tell that a sound is missing: where all that is seen gives one answer, they would give it.
    """
    hidden = _HIDDEN_SLOTS.get(view, "")
    if not hidden or hidden not in FORMS[stranger.form][1]:
        return True
    return any(qa.form == stranger.form and qa.needs == "both" for qa in own)


def names_in_question(qa: QAPair) -> set[str]:
    """The figures, phrases, motions, nouns and signals that a question names; none of one that needs no clip."""
    return set() if qa.needs == "text" else set(_NAMES.findall(qa.question))


def names_in_scene(scene: Scene) -> set[str]:
    """All that a question could name of a scene."""
    return set(_iterate_names(scene))


def _iterate_names(scene: Scene) -> Iterator[str]:
    for sight in scene.sights:
        yield from (sight.motion, *(figure.name for figure in sight.figures))
    for sound in scene.sounds:
        yield from (sound.text, sound.text.split()[-1], f"the {sound.name}")
