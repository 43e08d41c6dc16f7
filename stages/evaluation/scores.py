"""Score answers: accuracy of multiple choice, word error of speech, F1 and exact match of free answers.

A metric reads an answer (`parse`), scores one answer (`score`), and all answers together (`total`). An answer that
cannot be parsed counts as wrong; the results report the number of such answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from stages.choice_parsing import Options, chosen_letter
from stages.languages import detect_language, is_english
from stages.text_metrics import exact, f1, words

YES_NO_WORDS = ("yes", "no")
LANGUAGE_SAMPLE = 1000  # references from which the language of a suite is detected


class Row(Protocol):
    """The fields of an answered question that scoring reads."""

    @property
    def reference(self) -> str:
        """The right answer."""
        ...

    @property
    def parsed(self) -> str | None:
        """The answer as the metric parsed it; None: unparsed."""
        ...

    @property
    def score(self) -> float:
        """The score of this answer."""
        ...

    @property
    def group(self) -> str:
        """The group of the question; all questions of a group must be right."""
        ...


@dataclass(frozen=True)
class Metric:
    """A metric of answers.

    parse(answer, options): the part of the answer that is scored, or None if there is none. score(parsed, reference):
    the score of one answer. total(rows): the score of a suite. falls: lower is better.
    """

    name: str
    parse: Callable[[str, Options], str | None]
    score: Callable[[str | None, str], float]
    total: Callable[[Sequence[Row]], float]
    falls: bool = False
    details: Callable[[Sequence[Row]], dict[str, float]] | None = None


def normalize_speech(text: str, english: bool = True) -> str:
    """Normalise a transcript for word error: words, or letters in scripts without spaces, separated by spaces.

    English: Whisper's normaliser (numbers as digits, no fillers) without its table of British and American spellings,
    which transformers does not contain: `colour` for `color` is an error. Other languages only lose case and
    punctuation: Whisper's normaliser would drop vowel signs of other scripts, and words such as Portuguese `um`.
    """
    return " ".join(_whisper_normalizer()(text).split() if english else words(text))


@cache
def _whisper_normalizer() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalizer_class: Any = EnglishTextNormalizer  # the class has no type hints
    normalizer: Callable[[str], str] = normalizer_class({})
    return normalizer


def word_error(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return the word error rate over all pairs: errors divided by the words of all references. Both are normalised."""
    import jiwer

    return float(jiwer.process_words(list(references), list(answers)).wer)


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 for no values."""
    return sum(values) / len(values) if values else 0.0


def exact_match(rows: Sequence[Row]) -> float:
    """Return the share of answers that equal their reference except for case, punctuation and articles."""
    return mean([float(exact(row.parsed or "", row.reference)) for row in rows])


def _group_accuracy(rows: Sequence[Row]) -> float:
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row.score)
    return mean([min(scores) for scores in groups.values()])


def _pairs_word_error(pairs: Sequence[tuple[str | None, str]], suite_language: str | None) -> float:
    """Return the word error of (answer, reference) pairs, each normalised for the language of its reference."""
    english = [is_english(reference, suite_language) for _, reference in pairs]
    normalized = [normalize_speech(parsed or "", each) for (parsed, _), each in zip(pairs, english, strict=True)]
    return word_error(
        normalized, [normalize_speech(reference, each) for (_, reference), each in zip(pairs, english, strict=True)]
    )


def word_error_metric(references: Sequence[str] = ()) -> Metric:
    """Make a word error metric; in scripts without spaces it counts letters.

    references: the reference texts of the suite. A reference that is too short to detect its language counts as being
    in the language of all references.
    """
    suite_language = detect_language(" ".join(references[:LANGUAGE_SAMPLE]))
    return Metric(
        "word error",
        lambda answer, _: answer.strip() if words(answer) else None,
        lambda parsed, reference: _pairs_word_error([(parsed, reference)], suite_language),
        lambda rows: _pairs_word_error([(row.parsed, row.reference) for row in rows], suite_language),
        falls=True,
    )


def yes_or_no(answer: str) -> str | None:
    """Return `yes` or `no`: the first word of the answer, or the only one of the two that it has; else None."""
    said = words(answer)
    if said and said[0] in YES_NO_WORDS:
        return said[0]
    found = {word for word in said if word in YES_NO_WORDS}
    return found.pop() if len(found) == 1 else None


def yes_no_details(rows: Sequence[Row]) -> dict[str, float]:
    """Return precision, recall and F1 of the answer yes, the recall of no, and the shares of yes (0 where undefined).

    Recall of yes and of no are CMM's perception accuracy and hallucination resistance. An answer that is neither counts
    as wrong, and not as yes.
    """
    hits = sum(row.parsed == row.reference == "yes" for row in rows)
    said, right = sum(row.parsed == "yes" for row in rows), sum(row.reference == "yes" for row in rows)
    refused, wrong = sum(row.parsed == row.reference == "no" for row in rows), len(rows) - right
    return {
        "precision": hits / said if said else 0.0,
        "recall": hits / right if right else 0.0,
        "f1": 2 * hits / (said + right) if said + right else 0.0,
        "recall_of_no": refused / wrong if wrong else 0.0,
        "yes_share": said / len(rows),
        "yes_share_of_references": right / len(rows),
    }


def _parse_text(answer: str, options: Options) -> str | None:
    if options:
        return options.get(chosen_letter(answer, options) or "")
    return answer.strip() if words(answer) else None


ACCURACY = Metric("accuracy", chosen_letter, lambda parsed, reference: float(parsed == reference), _group_accuracy)
YES_NO = Metric(
    "accuracy",
    lambda answer, _: yes_or_no(answer),
    lambda parsed, reference: float(parsed == reference),
    lambda rows: mean([row.score for row in rows]),
    details=yes_no_details,
)
F1 = Metric(
    "F1",
    _parse_text,
    lambda parsed, reference: f1(parsed or "", reference),
    lambda rows: mean([row.score for row in rows]),
)
"""F1 of words; for multiple choice, of the words of the chosen option. Not CIDEr: tasks have only one reference, and
rare words need no weight."""
