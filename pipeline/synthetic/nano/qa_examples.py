"""Make training answers to `ask`: three questions about a clip that pass the rules together.

Questions that need both senses come first, then the others, each sorted by part, so that the order can be learned. If
possible, two questions need both senses and the third is a shortcut for `verify` to find.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import combinations, groupby, islice
from random import Random

from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.text_rules import SOUND_KINDS, QuestionDraft, question_flaws
from pipeline.synthetic.world.questions import ALWAYS, ORDINALS, QAPair
from pipeline.synthetic.world.vocabulary import MEETS, MOTIONS

COUNT = 3
_MOTION = re.compile("|".join((*MOTIONS, MEETS)))
PLACES = {part: place for place, part in enumerate((*ORDINALS, ALWAYS, ""))}


def ask_prompt(transcript: str) -> str:
    """Return the prompt of `ask`. transcript: empty for a clip in which nothing is said."""
    form = fill_prompt("ask_open", count=str(COUNT))
    if not transcript:
        return fill_prompt("ask_sound", count=str(COUNT), form=form)
    return fill_prompt("ask", count=str(COUNT), form=form, subtitles=fence_text("subtitles", transcript))


def make_triples(pairs: Sequence[QAPair], transcript: str, targets: int, rng: Random) -> list[str]:
    """Make at most `targets` different answers to `ask_prompt`; none if no three questions pass the rules together.

    All answers have the best rank that the clip allows. Ranks by the questions that need both senses: two of different
    parts, two of the same part, three, one, none. Among equal ranks those with the fewest motions are best, since a
    small model is worst at motions. `heard while` questions with a single possible answer are left out.
    """
    usable = [each for each in pairs if transcript or each.kind in SOUND_KINDS]
    usable = [each for each in usable if each.form != "heard while" or each.chance <= 0.5]

    @cache
    def together(first: QAPair, second: QAPair) -> bool:
        like = transcript or ask_prompt("")
        return question_flaws([_to_draft(first), _to_draft(second)], like) == [None, None]

    triples = list(combinations(rng.sample(usable, len(usable)), COUNT))
    rng.shuffle(triples)
    for _, sort in groupby(sorted(triples, key=_rank_triple), key=_rank_triple):
        passing = (triple for triple in sort if all(together(*pair) for pair in combinations(triple, 2)))
        if best := list(islice(passing, targets)):
            return [format_triple(order_questions(triple)) for triple in best]
    return []


def _rank_triple(triple: Sequence[QAPair]) -> tuple[int, int]:
    """Return the rank of three questions and their number of motions; (0, 0) is best."""
    both = [each for each in triple if each.needs == "both"]
    moving = sum(_MOTION.search(f"{each.question} {each.answer}") is not None for each in triple)
    return (int(both[0].part == both[1].part) if len(both) == 2 else 5 - len(both)), moving


def _to_draft(qa: QAPair) -> QuestionDraft:
    return QuestionDraft(qa.kind, qa.question, qa.answer)


def order_questions(triple: Sequence[QAPair]) -> list[QAPair]:
    """Sort questions: those that need both senses first, then by part. The sort is stable."""
    return sorted(triple, key=lambda each: (each.needs != "both", PLACES[each.part]))


def format_triple(triple: Sequence[QAPair]) -> str:
    """Format three questions as the prompt `ask_open` demands."""
    lines = (f"Q{n} ({each.kind}): {each.question}\nA{n}: {each.answer}" for n, each in enumerate(triple, start=1))
    return "\n".join(lines)
