"""From a model's words to numbers: accuracy of a choice, word error of speech, F1 and exact match of an answer.

A metric reads an answer (`parse`), scores it alone (`score`), and all answers together (`total`). What cannot be read,
or was never said, counts as wrong; how often that was is reported beside the score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from stages.choice_parsing import Options, chosen_letter
from stages.languages import is_english, language
from stages.text_metrics import exact, f1, words

TOLD = 1000  # references from which the language of a suite is told


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


def spoken(text: str, english: bool = True) -> str:
    """A text as it is compared with what was said: words, or letters of scripts without spaces, with spaces between.

    English is left as by Whisper's normaliser (numbers as digits, no fillers), which is given no table of British and
    American spellings, since transformers brings none: `colour` for `color` is an error here. It would drop the vowel
    signs of other scripts, and words like the Portuguese `um`: other languages only lose case and punctuation.
    """
    return " ".join(_normaliser()(text).split() if english else words(text))


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


def _errors(pairs: Sequence[tuple[str | None, str]], among: str | None) -> float:
    """Word error of answers beside their references, each pair normalised as the language of its reference is."""
    english = [is_english(reference, among) for _, reference in pairs]
    said = [spoken(parsed or "", each) for (parsed, _), each in zip(pairs, english, strict=True)]
    return word_error(said, [spoken(reference, each) for (_, reference), each in zip(pairs, english, strict=True)])


def word_error_metric(references: Sequence[str] = ()) -> Metric:
    """Word error in the language of each reference; in letters, where a script puts no spaces between words.

    references: of the whole suite, or many of them: a short one is taken to be in their language.
    """
    among = language(" ".join(references[:TOLD]))
    return Metric(
        "word error",
        lambda answer, _: answer.strip() if words(answer) else None,
        lambda parsed, reference: _errors([(parsed, reference)], among),
        lambda rows: _errors([(row.parsed, row.reference) for row in rows], among),
        falls=True,
    )


def _said(answer: str, options: Options) -> str | None:
    if options:
        return options.get(chosen_letter(answer, options) or "")
    return answer.strip() if words(answer) else None


ACCURACY = Metric("accuracy", chosen_letter, lambda parsed, reference: float(parsed == reference), _all_right)
F1 = Metric(
    "F1",
    _said,
    lambda parsed, reference: f1(parsed or "", reference),
    lambda rows: mean([row.score for row in rows]),
)
"""Of words, with exact match beside it; of a choice, of the words of the chosen option. Not CIDEr: there is one
reference, and no weight on rare words."""
