"""Two texts in, how far their words agree out: exact match and F1 as SQuAD counts them.

Verification in the pipeline and evaluation count alike, so that a question's score means the same in both.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

ARTICLES = frozenset(("a", "an", "the"))  # what SQuAD leaves out of account
APOSTROPHES = re.compile(r"['’ʼ]")
# Scripts that put no spaces between words: each letter counts as one.
UNSPACED = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    plain = UNSPACED.sub(r" \1 ", APOSTROPHES.sub("", unicodedata.normalize("NFKC", text).lower()))
    return "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in plain).split()


def told(text: str) -> list[str]:
    """The words of a text without articles."""
    return [word for word in words(text) if word not in ARTICLES]


def exact(answer: str, reference: str) -> bool:
    """Equal but for case, punctuation and articles (as SQuAD counts it); nothing equals nothing at all."""
    return bool(told(answer)) and told(answer) == told(reference)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of an answer's words, articles left out (as SQuAD counts it), 0..1."""
    given, wanted = told(answer), told(reference)
    shared = (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted)) if shared else 0.0
