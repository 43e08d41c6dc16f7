"""Compare two texts by words: exact match and F1 as SQuAD counts them, with signs that carry meaning.

Verification in the pipeline and evaluation count alike, so that a question's score means the same in both.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

# What SQuAD 1.1's evaluation leaves out, but only before a word: the grade "A" and "vitamin A" have no article.
ARTICLES = frozenset(("a", "an", "the"))
APOSTROPHES = re.compile(r"['’ʼ]")
# Scripts that put no spaces between words (Unicode Standard Annex 14, class SA, and ideographs): a letter is a word.
UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)
RAISED = re.compile(r"(?<=\d)([⁰¹²³⁴-⁹⁻⁺]+)")  # 10² is not 102
INVISIBLE = re.compile("[\u200b-\u200f\u2060\u00ad\ufeff\ufe00-\ufe0f\u20e3]|(?<=i)\u0307")  # also of a lowered İ
QUOTED = re.compile(r"^\s*>+\s", re.MULTILINE)  # Markdown's mark of a quotation
# Signs that are written in several ways, as they are compared.
SAME_SIGNS = str.maketrans({"−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "⁄": "/", "∕": "/", "∶": ":", "×": "*"})
# Signs that make another answer of the same words. Dashes elsewhere, and all other punctuation, are none.
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
NO_NOUN = ("", "+", "-", "#")  # what follows an A that is no article
MARKUP = "|~"  # of Markdown's tables and deletions: no signs though Unicode's categories say so
MEANT = ("Sm", "Sc")  # Unicode's categories of signs that count wherever they stand: + < = → √ $ €


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation and signs."""
    return _words(_plain(text))


def significant_words(text: str) -> list[str]:
    """The words of a text and its signs that mean something, without articles; of symbols alone, these."""
    plain = _plain(text)
    found = list(_words_and_signs(plain)) or [sign for sign in plain if unicodedata.category(sign)[0] == "S"]
    pairs = zip_longest(found, found[1:], fillvalue="")
    return [word for word, after in pairs if word not in ARTICLES or (word == "a" and after in NO_NOUN)]


def exact(answer: str, reference: str) -> bool:
    """Return whether two answers are equal but for case, punctuation and articles (SQuAD). Empty ones never are."""
    return bool(significant_words(answer)) and significant_words(answer) == significant_words(reference)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of an answer's words, articles left out (as SQuAD counts it), 0..1."""
    given, wanted = significant_words(answer), significant_words(reference)
    shared = (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted)) if shared else 0.0


def _plain(text: str) -> str:
    """In lower case and one way of writing, without marks that nobody sees."""
    lower = unicodedata.normalize("NFKC", RAISED.sub(r"^\1", text)).lower()
    return INVISIBLE.sub("", QUOTED.sub("", lower)).translate(SAME_SIGNS)


def _words(plain: str) -> list[str]:
    apart = UNSPACED.sub(r" \1 ", APOSTROPHES.sub("", plain))
    return "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in apart).split()


def _words_and_signs(plain: str) -> Iterator[str]:
    end = 0
    for start, sign in _signs(plain):
        yield from _words(plain[end:start])
        yield sign
        end = start + 1
    yield from _words(plain[end:])


def _signs(plain: str) -> Iterator[tuple[int, str]]:
    """Place of each sign that counts, and the sign, in order."""
    placed = {at.end() - len(at.group().lstrip()): at.group().strip() for at in SIGNS.finditer(plain)}
    placed |= {n: s for n, s in enumerate(plain) if unicodedata.category(s) in MEANT and s not in MARKUP}
    yield from sorted(placed.items())
