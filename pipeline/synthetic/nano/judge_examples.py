"""Make training examples for the yes-or-no judgements of `verify` and `screen`; half of them are yes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.text_rules import format_question
from pipeline.synthetic.nano.answers import UNKNOWN, Exchange, answer_with_steps
from pipeline.synthetic.world.questions import QAPair
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.vocabulary import (
    COLOURS,
    MOTIONS,
    NOUNS,
    NUMBERS,
    SHAPES,
    SIZES,
    SOUNDS,
    VOICE,
    WorldSplit,
)

YES, NO = "yes", "no"
WORD_FAMILIES: tuple[tuple[str, ...], ...] = (
    *(tuple(COLOURS), SHAPES, MOTIONS, tuple(SIZES)),
    *(NUMBERS, NOUNS, (*SOUNDS, VOICE)),
)
"""Groups of words that can replace each other in an answer."""
FILLER_WORDS = ("and", "the", "a")  # words without information


def agreement_examples(scene: Scene, own: Sequence[QAPair], count: int, rng: Random) -> list[Exchange]:
    """Make `count` comparisons of a given answer with the right one; given answers are right and wrong in turn."""
    pairs = rng.choices(own, k=count)
    return [_agreement_example(scene, qa, own, n % 2 == 0, rng) for n, qa in enumerate(pairs)]


def _agreement_example(scene: Scene, qa: QAPair, own: Sequence[QAPair], right: bool, rng: Random) -> Exchange:
    answer = _right_answer(scene, qa, rng) if right else _wrong_answer(scene, qa, own, rng)
    text = fill_prompt(
        "verify_agree",
        question=fence_text("question", format_question(qa.question, ())),
        reference=fence_text("right answer", qa.answer),
        answer=fence_text("given answer", answer),
    )
    return Exchange(text, YES if right else NO)


def _right_answer(scene: Scene, qa: QAPair, rng: Random) -> str:
    return rng.choice((answer_with_steps(scene, qa, qa.answer), qa.answer))


def _wrong_answer(scene: Scene, qa: QAPair, own: Sequence[QAPair], rng: Random) -> str:
    """Choose a wrong answer: of another part, with a replaced word, or `unknown`."""
    others = sorted({each.answer for each in own if each.form == qa.form} - {qa.answer})
    way = rng.choice(("option", "value", UNKNOWN))
    other = rng.choice(others) if others and way == "option" else replace_word(qa.answer, rng)
    value = UNKNOWN if way == UNKNOWN else other
    return answer_with_steps(scene, qa, value) if way == "option" or rng.random() < 0.5 else value


def replace_word(value: str, rng: Random) -> str:
    """Replace a word (or motion) of a value. Raises ValueError if it has no word of `WORD_FAMILIES`."""
    # Match whole words only: `ten` must not match `kitten`.
    places = [(name, family) for family in WORD_FAMILIES for name in family if f" {name} " in f" {value} "]
    if not places:
        raise ValueError(f"{value!r}: no word that another could replace")
    name, family = rng.choice(places)
    return f" {value} ".replace(f" {name} ", f" {rng.choice([each for each in family if each != name])} ", 1).strip()


def screening_examples(split: WorldSplit, rng: Random) -> list[Exchange]:
    """Make a good and a bad transcript for each prompt of `screen`."""
    judged = {"complete": make_incomplete, "informative": make_uninformative}
    transcripts = [(name, YES, _choose_phrases(split, rng)) for name in judged]
    transcripts += [(name, NO, spoil(_choose_phrases(split, rng), rng)) for name, spoil in judged.items()]
    return [
        Exchange(fill_prompt(f"screen_{name}", subtitles=fence_text("subtitles", " ".join(words))), verdict)
        for name, verdict, words in transcripts
    ]


def _choose_phrases(split: WorldSplit, rng: Random) -> list[str]:
    """Choose the words of one or two phrases or figure names."""
    pairs = split.figures if rng.random() < 0.2 else split.phrases
    return [word for pair in rng.sample(pairs, rng.choice((1, 2, 2))) for word in pair]


def make_incomplete(words: Sequence[str], rng: Random) -> list[str]:
    """Make an incomplete transcript: without its last word, a single word, or with a repeated word."""
    way, at = rng.choice(("last", "one", "double")), rng.randrange(len(words))
    if way == "double":
        return [*words[: at + 1], *words[at:]]
    return [words[at]] if way == "one" else list(words[:-1])


def make_uninformative(words: Sequence[str], rng: Random) -> list[str]:
    """Make a degenerate transcript: a word repeated, or filler words."""
    if rng.random() < 0.5:
        return [rng.choice(words)] * rng.randrange(2, 6)
    return rng.choices(FILLER_WORDS, k=rng.randrange(2, 6))
