"""From a model's words to numbers: accuracy of a choice, word error of speech, F1 and exact match of an answer.

A metric reads an answer (`parse`), scores it alone (`score`), and all answers together (`total`). What cannot be read,
or was never said, counts as wrong; how often that was is reported beside the score.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from stages.wording import exact, f1, words

Options = Mapping[str, str]
CLOSED = r"(?=\s*(?:[.):,;\]*\"'’”]|\n|$)|\s+(?:is|because)\b)"  # what follows an A that is no article
OTHERS = r"\W*(?:,|/|&|\band\b|\bor\b)\W*[{letters}](?!\w)"  # "A or B", "A, B" choose nothing
CLAIM = r"(?i:answer|option|choice)(?:\s+(?i:is|would be))?[\s:*(\[\"'“‘]*"


class Row(Protocol):
    """What scoring reads of an answered question."""

    @property
    def reference(self) -> str:
        """The right answer."""
        ...

    @property
    def parsed(self) -> str | None:
        """What the metric read in the answer."""
        ...

    @property
    def score(self) -> float:
        """Of this answer alone."""
        ...

    @property
    def group(self) -> str:
        """Questions that count as one."""
        ...


@dataclass(frozen=True)
class Metric:
    """parse: an answer, given the options of a choice; None where it says nothing that can be scored.

    score: what was parsed (or None), beside the reference; its values are those of `total`, which takes all rows.
    falls: whether less is better.
    """

    name: str
    parse: Callable[[str, Options], str | None]
    score: Callable[[str | None, str], float]
    total: Callable[[Sequence[Row]], float]
    falls: bool = False


def letter(answer: str, options: Options) -> str | None:
    """The letter that an answer chooses, or None where it chooses none, or several.

    Read are: a letter alone in any case; one that the answer begins with (`B`, `(B)`, `B. a dog`, but not the article
    of `A dog`); one that is named as the answer (`The best answer is: B`); and the words of just one option.
    """
    text, letters = answer.strip(), "".join(options)
    if alone := re.fullmatch(rf"\W*([{letters}{letters.lower()}])\W*", text):
        return alone[1].upper()
    chosen = _letter_pattern(letters)
    if leading := re.match(rf"\W*{chosen}", text):
        several = re.match(OTHERS.format(letters=letters), text[leading.end() :])
        return None if several else leading[1]
    claims = list(re.finditer(rf"\b{CLAIM}{chosen}", text))
    if claims:
        several = re.match(OTHERS.format(letters=letters), text[claims[-1].end() :])
        named = {claim[1] for claim in claims}
        return named.pop() if len(named) == 1 and not several else None
    meant = [each for each, words_of in options.items() if exact(words_of, answer)]
    return meant[0] if len(meant) == 1 else None


def _letter_pattern(letters: str) -> str:
    """An option's letter as a word of its own. `A` is also an article, and needs more than a space after it."""
    rest = letters.replace("A", "")
    return rf"((?:A(?!\w){CLOSED})|(?:[{rest}](?!['’]?\w)))" if rest else rf"(A(?!\w){CLOSED})"


def spoken(text: str) -> str:
    """A text as Whisper's English normaliser leaves it: lower case, numbers as digits, no punctuation or fillers.

    The normaliser is given no table of British and American spellings, since transformers brings none: `colour` for
    `color` is an error here, where Whisper's own evaluation forgives it. Scripts without spaces are not cut into words.
    """
    return " ".join(_normaliser()(text).split())


@cache
def _normaliser() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    make: Any = EnglishTextNormalizer  # without types
    made: Callable[[str], str] = make({})
    return made


def word_error(answers: Sequence[str], references: Sequence[str]) -> float:
    """Substitutions, deletions and insertions of all answers by the words of all references; both normalised."""
    import jiwer

    return float(jiwer.process_words(list(references), list(answers)).wer)


def mean(values: Sequence[float]) -> float:
    """0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def exact_match(rows: Sequence[Row]) -> float:
    """Share of the rows whose answer is the reference, but for case, punctuation and articles."""
    return mean([float(exact(row.parsed or "", row.reference)) for row in rows])


def _all_right(rows: Sequence[Row]) -> float:
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row.score)
    return mean([min(scores) for scores in groups.values()])


def _errors_of_all(rows: Sequence[Row]) -> float:
    return word_error([row.parsed or "" for row in rows], [spoken(row.reference) for row in rows])


def _said(answer: str, options: Options) -> str | None:
    if options:
        return options.get(letter(answer, options) or "")
    return answer.strip() if words(answer) else None


ACCURACY = Metric("accuracy", letter, lambda parsed, reference: float(parsed == reference), _all_right)
WORD_ERROR = Metric(
    "word error",
    lambda answer, _: spoken(answer) or None,
    lambda parsed, reference: word_error([parsed or ""], [spoken(reference)]),
    _errors_of_all,
    falls=True,
)
F1 = Metric(
    "F1",
    _said,
    lambda parsed, reference: f1(parsed or "", reference),
    lambda rows: mean([row.score for row in rows]),
)
"""Of words, with exact match beside it; of a choice, of the words of the chosen option. Not CIDEr: there is one
reference, and no weight on rare words."""
