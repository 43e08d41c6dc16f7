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
from pipeline.synthetic.nano.motion_examples import motions, noted
from pipeline.synthetic.world.questions import ALWAYS, FORMS, Posed, ambiguous, questions
from pipeline.synthetic.world.scenes import Scene, compose
from pipeline.synthetic.world.vocabulary import COLOURS, MOTIONS, NOUNS, NUMBERS, SHAPES, SOUNDS

UNKNOWN = "unknown"
SUFFICES = {"both": ("both",), "video": ("both", "video"), "audio": ("both", "audio"), "text": VIEWS}
"""What a question needs -> the views that answer it."""
ASKED_OF = {
    **{f"{kind} while": kind for kind in ("seen", "colour", "shape", "motion", "size", "heard")},
    **{f"{kind} of": kind for kind in ("colour", "shape", "motion")},
    **{f"{kind} after": f"then {kind}" for kind in ("seen", "heard")},
    **dict.fromkeys(("said while", "said"), "words"),
    **dict.fromkeys(("counted while", "counted"), "number"),
    "colour named": "colour",
    "meets": "meet",
}
"""Form of a question -> what is asked of the part that it is about."""
NUMBERS_OF_SCENES = 100_000  # a split's seeds have so many scenes each to choose from

_TRAPS = {"video": "{sound}", "audio": "{sight}"}  # view -> what a question names that cannot be told in it
_WORDS = ((COLOURS, SHAPES), (NUMBERS, NOUNS))
_PAIRS = (f"(?:{'|'.join(firsts)}) (?:{'|'.join(lasts)})" for firsts, lasts in _WORDS)
_NAMED = re.compile("|".join((*_PAIRS, *MOTIONS, *NOUNS, *(f"the {sound}" for sound in SOUNDS))))


class Exchange(NamedTuple):
    """What is asked, and what is answered to it."""

    asked: str
    answer: str


def told(scene: Scene, posed: Posed, value: str) -> str:
    """A value as the answer to a question of a scene, with how it is come by; alone where it is of no part."""
    if not posed.part:
        return value
    about, kind = [] if posed.part == ALWAYS else _about(posed.question)[:1], ASKED_OF[posed.form]
    whom = [f"{name} and {value.removeprefix('the ')}" for name in about if kind == "meet"]
    steps = [*about, posed.part, *noted(scene, posed.part, kind), *whom, kind]
    return f"{_which(scene, posed.question) if about else ''}{' '.join(steps)}: {value}"


def _which(scene: Scene, question: str) -> str:
    """All motions, where a question speaks of something by its motion."""
    return f"{motions(scene)}, " if "while something " in question else ""


def _about(question: str) -> list[str]:
    """What a question names, without its article."""
    return [name.removeprefix("the ") for name in _NAMED.findall(question)]


def answer(scene: Scene, posed: Posed, view: str) -> str:
    """With how it is come by, or `UNKNOWN` where the view does not suffice."""
    return told(scene, posed, posed.answer) if view in SUFFICES[posed.needs] else UNKNOWN


def checked(scene: Scene, posed: Posed, view: str) -> Exchange:
    """A question of a scene as `verify` asks it under a view."""
    return Exchange(asked_by_verify(posed.question), answer(scene, posed, view))


def unanswered(posed: Posed) -> Exchange:
    """A question as `verify` asks it where there is no answer to it."""
    return Exchange(asked_by_verify(posed.question), UNKNOWN)


def undecided(scene: Scene) -> list[Exchange]:
    """Questions of a scene that have more than one answer, as `verify` asks them: in which parts is told before."""
    return [
        Exchange(asked_by_verify(question), f"{_which(scene, question)}{_about(question)[0]} {parts}: {UNKNOWN}")
        for question, parts in ambiguous(scene).items()
    ]


def bare(posed: Posed) -> Exchange:
    """A question and its answer, as they are packed."""
    return Exchange(posed.question, posed.answer)


def asked_by_verify(question: str) -> str:
    """The text of the request."""
    return fill_prompt("verify_answer", question=format_question(question, ()))


def strangers(scene: Scene, own: Sequence[Posed], count: int, chance: Random) -> list[Posed]:
    """At most `count` questions of another scene of its split's seed, about what this one does not have."""
    has, known = named_in_scene(scene), {posed.question for posed in own}
    other = compose(scene.seed, chance.randrange(NUMBERS_OF_SCENES))
    found = [posed for posed in questions(other) if posed.question not in known]
    apart = [posed for posed in found if (names := named(posed)) and names.isdisjoint(has)]
    return chance.sample(apart, min(count, len(apart)))


def is_unknown(stranger: Posed, own: Sequence[Posed], view: str) -> bool:
    """Whether a view shows that there is no answer to a question of another scene.

    Who only sees cannot tell that a sound is missing: where all that is seen gives one answer, they would give it.
    """
    hidden = _TRAPS.get(view, "")
    if not hidden or hidden not in FORMS[stranger.form][1]:
        return True
    return any(posed.form == stranger.form and posed.needs == "both" for posed in own)


def named(posed: Posed) -> set[str]:
    """The figures, phrases, motions, nouns and signals that a question names; none of one that needs no clip."""
    return set() if posed.needs == "text" else set(_NAMED.findall(posed.question))


def named_in_scene(scene: Scene) -> set[str]:
    """All that a question could name of a scene."""
    return set(_named_in_scene(scene))


def _named_in_scene(scene: Scene) -> Iterator[str]:
    for sight in scene.sights:
        yield from (sight.motion, *(figure.name for figure in sight.figures))
    for sound in scene.sounds:
        yield from (sound.text, sound.text.split()[-1], f"the {sound.name}")
