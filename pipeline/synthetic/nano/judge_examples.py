"""Training examples for yes-or-no judgements of texts, as `verify` and `screen` ask them; half are yes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.text_rules import format_question
from pipeline.synthetic.nano.answers import UNKNOWN, Exchange, told
from pipeline.synthetic.world.questions import Posed
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.vocabulary import COLOURS, MOTIONS, NOUNS, NUMBERS, SHAPES, SIZES, SOUNDS, VOICE, Split

YES, NO = "yes", "no"
FAMILIES: tuple[tuple[str, ...], ...] = (
    *(tuple(COLOURS), SHAPES, MOTIONS, tuple(SIZES)),
    *(NUMBERS, NOUNS, (*SOUNDS, VOICE)),
)
"""Words that stand for each other in an answer."""
NEEDLESS = ("and", "the", "a")  # of which nothing can be learned


def agreeing(scene: Scene, own: Sequence[Posed], count: int, chance: Random) -> list[Exchange]:
    """So many given answers beside the right ones of a scene's questions, right and wrong in turn."""
    some = chance.choices(own, k=count)
    return [_compared(scene, posed, own, n % 2 == 0, chance) for n, posed in enumerate(some)]


def _compared(scene: Scene, posed: Posed, own: Sequence[Posed], right: bool, chance: Random) -> Exchange:
    given = _right(scene, posed, chance) if right else _wrong(scene, posed, own, chance)
    text = fill_prompt(
        "verify_agree",
        question=fence_text("question", format_question(posed.question, ())),
        reference=fence_text("right answer", posed.answer),
        answer=fence_text("given answer", given),
    )
    return Exchange(text, YES if right else NO)


def _right(scene: Scene, posed: Posed, chance: Random) -> str:
    return chance.choice((told(scene, posed, posed.answer), posed.answer))


def _wrong(scene: Scene, posed: Posed, own: Sequence[Posed], chance: Random) -> str:
    """What the same question has for an answer of another part, any other value of its sort, or nothing known."""
    others = sorted({each.answer for each in own if each.form == posed.form} - {posed.answer})
    way = chance.choice(("option", "value", UNKNOWN))
    other = chance.choice(others) if others and way == "option" else another(posed.answer, chance)
    value = UNKNOWN if way == UNKNOWN else other
    return told(scene, posed, value) if way == "option" or chance.random() < 0.5 else value


def another(value: str, chance: Random) -> str:
    """Return the value with one word (or motion) replaced. Raises ValueError if no word of it is the world's."""
    # Whole words: `ten` is no part of `kitten`, nor `star` of `start`.
    places = [(name, family) for family in FAMILIES for name in family if f" {name} " in f" {value} "]
    if not places:
        raise ValueError(f"{value!r}: none of its words stands for others")
    name, family = chance.choice(places)
    return f" {value} ".replace(f" {name} ", f" {chance.choice([each for each in family if each != name])} ", 1).strip()


def screened(split: Split, chance: Random) -> list[Exchange]:
    """Transcripts to judge, whole ones and others for each of `screen`'s prompts."""
    judged = {"complete": cut, "informative": empty}
    found = [(name, YES, _phrases(split, chance)) for name in judged]
    found += [(name, NO, spoil(_phrases(split, chance), chance)) for name, spoil in judged.items()]
    return [
        Exchange(fill_prompt(f"screen_{name}", subtitles=fence_text("subtitles", " ".join(said))), verdict)
        for name, verdict, said in found
    ]


def _phrases(split: Split, chance: Random) -> list[str]:
    """The words of one phrase or two, now and then of what a named clip shows."""
    pairs = split.figures if chance.random() < 0.2 else split.phrases
    return [word for pair in chance.sample(pairs, chance.choice((1, 2, 2))) for word in pair]


def cut(said: Sequence[str], chance: Random) -> list[str]:
    """Without its last word, one word of it, or with a word that is said twice."""
    way, at = chance.choice(("last", "one", "double")), chance.randrange(len(said))
    if way == "double":
        return [*said[: at + 1], *said[at:]]
    return [said[at]] if way == "one" else list(said[:-1])


def empty(said: Sequence[str], chance: Random) -> list[str]:
    """One word of it over and over, or words that tell nothing."""
    if chance.random() < 0.5:
        return [chance.choice(said)] * chance.randrange(2, 6)
    return chance.choices(NEEDLESS, k=chance.randrange(2, 6))
