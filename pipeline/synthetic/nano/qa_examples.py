"""Sets of three questions of a clip that pass the rules of `ask`, as training examples.

First come those that need picture and sound, then those that need less, each by the part that they are about: an order
that can be learned. A three has two of the first and one of the others, a shortcut for `verify` to find, where it can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import combinations, groupby, islice
from random import Random

from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.text_rules import QuestionDraft, question_flaws
from pipeline.synthetic.world.questions import ALWAYS, ORDINALS, QAPair
from pipeline.synthetic.world.vocabulary import MEETS, MOTIONS

COUNT = 3
_MOTION = re.compile("|".join((*MOTIONS, MEETS)))
PLACES = {part: place for place, part in enumerate((*ORDINALS, ALWAYS, ""))}


def ask_prompt(transcript: str) -> str:
    """The text that `ask` asks with."""
    form = fill_prompt("ask_open", count=str(COUNT))
    return fill_prompt("ask", count=str(COUNT), form=form, subtitles=fence_text("subtitles", transcript))


def make_triples(qa: Sequence[QAPair], transcript: str, targets: int, rng: Random) -> list[str]:
    """At most so many different answers to `request`; none where no three questions pass the rules together.

    All are of the best sort that the clip has: two that need both of different parts and a shortcut; two of one part
    and a shortcut; three; one; none; of these, those that speak least of motions, which a small model tells worst.
    `heard while` of one answer is left out: it asks no more than if there is sound.
    """
    usable = [each for each in qa if each.form != "heard while" or each.chance <= 0.5]

    @cache
    def together(first: QAPair, second: QAPair) -> bool:
        return question_flaws([_to_draft(first), _to_draft(second)], transcript) == [None, None]

    found = list(combinations(rng.sample(usable, len(usable)), COUNT))
    rng.shuffle(found)
    for _, sort in groupby(sorted(found, key=_rank_triple), key=_rank_triple):
        passing = (three for three in sort if all(together(*pair) for pair in combinations(three, 2)))
        if kept := list(islice(passing, targets)):
            return [format_triple(order_questions(three)) for three in kept]
    return []


def _rank_triple(three: Sequence[QAPair]) -> tuple[int, int]:
    """How good a three is, and how many of it speak of motions; (0, 0) is best."""
    both = [each for each in three if each.needs == "both"]
    moving = sum(_MOTION.search(f"{each.question} {each.answer}") is not None for each in three)
    return (int(both[0].part == both[1].part) if len(both) == 2 else 5 - len(both)), moving


def _to_draft(qa: QAPair) -> QuestionDraft:
    return QuestionDraft(qa.kind, qa.question, qa.answer)


def order_questions(three: Sequence[QAPair]) -> list[QAPair]:
    """Those that need both first, then by part; of the same they stay as they came."""
    return sorted(three, key=lambda each: (each.needs != "both", PLACES[each.part]))


def format_triple(three: Sequence[QAPair]) -> str:
    """In the form of `ask_open`."""
    lines = (f"Q{n} ({each.kind}): {each.question}\nA{n}: {each.answer}" for n, each in enumerate(three, start=1))
    return "\n".join(lines)
