"""Compare two texts by words: exact match and F1 as in SQuAD, plus signs that carry meaning.

Verification in the pipeline and evaluation both use these metrics, so that their scores are comparable.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

# SQuAD 1.1's evaluation removes these words; here only before a word: the grade "A" and "vitamin A" have no article.
ARTICLES = frozenset(("a", "an", "the"))
APOSTROPHES = re.compile(r"['’ʼ]")
# Scripts that put no spaces between words (Unicode Standard Annex 14, class SA, and ideographs): a letter is a word.
UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)
RAISED = re.compile(r"(?<=\d)([⁰¹²³⁴-⁹⁻⁺]+)")  # 10² is not 102
INVISIBLE = re.compile(
    "[\u200b-\u200f\u2060\u00ad\ufeff\ufe00-\ufe0f\u20e3]|(?<=i)\u0307"
)  # also the dot of a lowered İ
QUOTED = re.compile(r"^\s*>+\s", re.MULTILINE)  # Markdown's mark of a quotation
# Variants of signs -> the form that is compared.
SAME_SIGNS = str.maketrans({"−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "⁄": "/", "∕": "/", "∶": ":", "×": "*"})
# Signs that change the meaning of an answer. Other dashes and all other punctuation are ignored.
SIGNS = re.compile(
    r"""
    (?<![\w.])-(?=[.,]?\d|[$€£¥₹₽]\s?\d)    # -5
    | (?<=\d\s)-(?=\s\d)                    # 5 - 3; 10-15 is a range
    | (?<=\d)\s*[/:*^]\s*(?=\d)             # 1/2, 3:30, 2 × 3
    | (?<![\w.])\.(?=\d)                    # .5
    | (?<=\w)\#(?!\w)                       # C#
    | (?<=\d)\s?[%‰′″]                      # 5 %
    | (?<=(?<!\w)[a-z])-(?!\w)              # the grade A-
    | (?<=(?<!\w)[a-z]{2})-(?!\w)           # the blood group AB-
    """,
    re.VERBOSE,
)
NO_NOUN = ("", "+", "-", "#")  # after one of these, "a" is not an article
MARKUP = "|~"  # Markdown's tables and deletions: ignored although Unicode classifies them as signs
SIGN_CATEGORIES = ("Sm", "Sc")  # Unicode categories of signs that count at every place: + < = → √ $ €


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation and signs."""
    return _split_words(_normalize(text))


def significant_words(text: str) -> list[str]:
    """Return the words and the significant signs of a text, without articles; for a text of symbols, the symbols."""
    normalized = _normalize(text)
    found = list(_split_words_and_signs(normalized)) or [
        sign for sign in normalized if unicodedata.category(sign)[0] == "S"
    ]
    pairs = zip_longest(found, found[1:], fillvalue="")
    return [word for word, after in pairs if word not in ARTICLES or (word == "a" and after in NO_NOUN)]


def exact(answer: str, reference: str) -> bool:
    """Return whether two answers are equal except for case, punctuation and articles (SQuAD). Empty answers are not."""
    return bool(significant_words(answer)) and significant_words(answer) == significant_words(reference)


def f1(answer: str, reference: str) -> float:
    """Return the F1 of an answer's words without articles (as in SQuAD), 0..1."""
    answered, expected = significant_words(answer), significant_words(reference)
    shared = (Counter(answered) & Counter(expected)).total()
    return 2 * shared / (len(answered) + len(expected)) if shared else 0.0


def _normalize(text: str) -> str:
    """Return the text in lower case and NFKC, without invisible characters."""
    lower = unicodedata.normalize("NFKC", RAISED.sub(r"^\1", text)).lower()
    return INVISIBLE.sub("", QUOTED.sub("", lower)).translate(SAME_SIGNS)


def _split_words(normalized: str) -> list[str]:
    separated = UNSPACED.sub(r" \1 ", APOSTROPHES.sub("", normalized))
    return "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in separated).split()


def _split_words_and_signs(normalized: str) -> Iterator[str]:
    end = 0
    for start, sign in _find_signs(normalized):
        yield from _split_words(normalized[end:start])
        yield sign
        end = start + 1
    yield from _split_words(normalized[end:])


def _find_signs(normalized: str) -> Iterator[tuple[int, str]]:
    """Yield the position of each significant sign, and the sign, in order."""
    found = {at.end() - len(at.group().lstrip()): at.group().strip() for at in SIGNS.finditer(normalized)}
    found |= {n: s for n, s in enumerate(normalized) if unicodedata.category(s) in SIGN_CATEGORIES and s not in MARKUP}
    yield from sorted(found.items())
