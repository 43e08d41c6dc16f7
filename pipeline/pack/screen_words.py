"""Find words in the text that was read in frames, and in captions, although readers err.

    words_on_screen       share of the words said around the frames that were read which can be read there, 0..1
    answer_on_screen      share of the answer's words that can be read in the frames of the clip, 0..1
    described             share of the clip's words that stand in the caption of its frames, 0..1

A word is found in any case, without accents, with one wrong, missing or additional letter if it has five letters or
more and no digit, and in lines whose spaces the reader lost. In scripts without spaces, such as Chinese, a letter is
found beside one of its neighbours.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from pipeline.annotation.text_rules import option_text
from stages.text_metrics import ARTICLES, UNSPACED, significant_words

NEAR = 1.0  # seconds before and after a word in which a frame should show it: a subtitle stays for some words
LONG = 5  # letters from which a word may be misread
GLUED = 6  # letters from which a word may be several without their spaces
COVERED = 0.8  # of the letters of such a word that the words in it must have
VERY_LONG, CONTAINED = 14, 4  # letters from which any word stands for several, and letters of a word found in it
MOST_TEXTS = 256  # clips whose lines are kept: the tasks of a clip follow each other

# Words that tell nothing of a clip: they stand in most titles and answers.
FUNCTION_WORDS = frozenset(
    """
    a an the and or but not no of in on at to for from by with as into over under after before during about than then
    is are was were be been being am do does did has have had will would can could may might must shall should it its
    he she they them his her their him we us our you your i me my this that these those there here who whom whose what
    which when where why how so if because while some any all both each more most very just also only out up down off
    """.split()  # noqa: SIM905
)


def content_words(text: str) -> list[str]:
    """Return the words of a text without function words; all words of a text that has no others."""
    found = significant_words(text)
    return [word for word in found if word not in FUNCTION_WORDS] or found


def fold_accents(text: str) -> str:
    """Return a text without accents and other marks above or below its letters."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if unicodedata.category(sign) != "Mn")


class ReadableText:
    """The words of some lines of text that was read in a picture, or written without errors."""

    def __init__(self, lines: Iterable[str]) -> None:
        split = [significant_words(fold_accents(line)) for line in lines]
        joined = {before + after for line in split for before, after in pairwise(line)}
        self.words = {word for line in split for word in line} | joined
        self.lines = ["".join(line) for line in split]

    def share(self, text: str) -> float | None:
        """Return the share of the content words of a text that can be read; None for a text without words."""
        spoken = significant_words(fold_accents(text))
        readable = self.words | self._split_glued({*spoken, *ARTICLES})
        found = [
            _stands_in(spoken, n, self.lines) if UNSPACED.fullmatch(word) else self._has(word, readable)
            for n, word in enumerate(spoken)
            if word not in FUNCTION_WORDS
        ] or [word in readable for word in spoken]
        return sum(found) / len(found) if found else None

    def _split_glued(self, vocabulary: Collection[str]) -> set[str]:
        """Return the words of a vocabulary into which words without spaces can be split."""
        glued = (word for word in self.words if len(word) >= GLUED)
        return {part for word in glued for part in split_glued(word, vocabulary)}

    def _has(self, word: str, readable: Collection[str]) -> bool:
        if word in readable:
            return True
        if len(word) >= CONTAINED and any(word in other for other in self.words if len(other) >= VERY_LONG):
            return True
        return len(word) >= LONG and word.isalpha() and any(is_one_edit_away(word, other) for other in readable)


def _stands_in(letters: Sequence[str], n: int, lines: Sequence[str]) -> bool:
    """Return whether a letter of a script without spaces stands beside one of its neighbours in a line."""
    pairs = [pair for pair in ("".join(letters[max(0, n - 1) : n + 1]), "".join(letters[n : n + 2])) if len(pair) > 1]
    return any(pair in line for pair in pairs or [letters[n]] for line in lines)


def split_glued(word: str, vocabulary: Collection[str]) -> list[str]:
    """Return the words that together are a word but for a few letters; none if they leave too many."""
    best: list[tuple[int, list[str]]] = [(0, [])]
    parts = [part for part in vocabulary if len(part) > 1 and part in word]
    for end in range(1, len(word) + 1):
        choices = [best[end - 1]]
        for part in parts:
            if word.endswith(part, 0, end):
                covered, before = best[end - len(part)]
                choices.append((covered + len(part), [*before, part]))
        best.append(max(choices, key=lambda choice: choice[0]))
    covered, found = best[-1]
    return found if covered >= COVERED * len(word) else []


def is_one_edit_away(word: str, other: str) -> bool:
    """Return whether two words are equal but for one letter that is wrong, missing or too many."""
    if abs(len(word) - len(other)) > 1:
        return False
    same = next((n for n, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))
    skips = (word[same + 1 :], other[same + 1 :]), (word[same:], other[same + 1 :]), (word[same + 1 :], other[same:])
    return any(a == b for a, b in skips)


def words_on_screen(words: str | None, lines: str | None, times: str | None) -> float | None:
    """Return the share of the words said around the frames that were read which can be read in them.

    words: of the transcript, lines: that were read, times: of the frames; as JSON. Null where nothing is said then.
    """
    spoken = json.loads(words or "[]")
    found, total = 0.0, 0
    for time in json.loads(times or "[]"):
        said = " ".join(word["text"] for word in spoken if word["start"] - NEAR <= time <= word["end"] + NEAR)
        shown = ReadableText(line["text"] for line in json.loads(lines or "[]") if line["time"] == time)
        share = shown.share(said)
        if share is not None:
            weight = len(content_words(said))
            found, total = found + share * weight, total + weight
    return found / total if total else None


def answer_on_screen(
    question: str | None, answer: str | None, options: Sequence[str] | None, lines: str | None
) -> float | None:
    """Return the share of the answer's words that can be read in the clip. lines: that were read, as JSON.

    Null for a task without question or answer, and where no frame was read.
    """
    if question is None or not answer or lines is None:
        return None
    return _readable_lines(lines).share(option_text(answer, options or ()))


@lru_cache(maxsize=MOST_TEXTS)
def _readable_lines(lines: str) -> ReadableText:
    return ReadableText(dict.fromkeys(line["text"] for line in json.loads(lines)))


def described(text: str | None, caption: str | None) -> float | None:
    """Return the share of what is said that stands in the caption of the frames; null where one of both is missing.

    Each word counts once.
    """
    if not text or not caption:
        return None
    return ReadableText(re.split(r"[.!?\n]", caption)).share(" ".join(dict.fromkeys(content_words(text))))
