"""Rules for wrong options of a multiple choice: how a list of them is parsed, which are used, and where they stand.

Options are of the kind and length of the answer, so that none can be chosen without the clip. Pure functions, without
models; lengths are in characters and words, so that they hold in any script.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from pipeline.annotation.phrases import is_refusal, names_subtitles
from pipeline.annotation.text_rules import LETTERS, answer_fault, is_other_language, leaks_answer
from stages.languages import detect_script
from stages.text_metrics import ARTICLES, exact, significant_words, words

USED = len(LETTERS) - 1
LIST_LINE = re.compile(r"[\s\-*•·>#_`(（\[【]*\d+\s*[.．):：、）\]】][\s*_`]*(.*)")
OUTER = '*_`"“”„«»「」『』'  # Markdown and quotation marks around an option
LENGTH_SHARE, LEAST_CHARACTERS, LEAST_WORDS = 0.35, 3, 1  # by which an option may be longer or shorter than the answer


def parse_list(text: str, finish: str, answer: str) -> tuple[str, list[str]] | str:
    """Return the answer as a numbered list restates it first, and the other entries; or the fault of the list.

    An answer that was written in one go with the others cannot be told from them by its form. A fault has no words of
    the text, since it goes into a prompt.
    """
    if fault := answer_fault(text, finish):
        return fault
    matches = (LIST_LINE.fullmatch(line) for line in text.splitlines())
    entries = [plain for match in matches if match and (plain := clean_option(match[1]))]
    if len(entries) <= USED:
        return f"expected at least {USED + 1} numbered lines, got {len(entries)}"
    first, *others = entries
    return (first, others) if exact(first, answer) or _overlap(first, answer) else "line 1 is not the right answer"


def _overlap(text: str, other: str) -> bool:
    """Return whether one of two texts contains the words of the other in a row."""
    return leaks_answer(text, other) or leaks_answer(other, text)


def clean_option(text: str) -> str:
    """Return an option without quotation marks, Markdown, and a full stop at its end."""
    return text.strip().strip(OUTER).strip().rstrip(".。｡\u0964").strip(OUTER).strip()


def distractor_flaws(proposed: Sequence[str], answer: str, question: str) -> list[str]:
    """Return for each proposed option why it cannot be used; "" if it can."""
    kept, flaws = list[str](), list[str]()
    for text in proposed:
        flaws.append(_find_flaw(text, answer, question, kept))
        kept += [] if flaws[-1] else [text]
    return flaws


def _find_flaw(text: str, answer: str, question: str, kept: Sequence[str]) -> str:
    rules = {
        "empty": not significant_words(text),
        "refused": is_refusal(text),
        "names the subtitles": names_subtitles(text),
        "equals the answer": exact(text, answer),
        "repeats an option": any(exact(text, other) for other in kept),
        "overlaps the answer": _overlap(text, answer),
        "overlaps an option": any(_overlap(text, other) for other in kept),
        "stands in the question": leaks_answer(question, text),
        "of another kind": option_shape(text) != option_shape(answer) or is_other_language(text, answer),
        "of another length": not is_like_length(text, answer),
    }
    return next((reason for reason, broken in rules.items() if broken), "")


def option_shape(text: str) -> tuple[str | None, bool, bool]:
    """Return what shows of an option's kind in any language: its script, whether it has digits, or a first article."""
    first = next(iter(words(text)), "")
    return detect_script(text), any(letter.isdecimal() for letter in text), first in ARTICLES


def is_like_length(text: str, answer: str) -> bool:
    """Return whether an option is about as long as the answer, in characters and in words."""
    counts = ((len(text), len(answer), LEAST_CHARACTERS), (len(words(text)), len(words(answer)), LEAST_WORDS))
    return all(abs(mine - right) <= max(least, LENGTH_SHARE * right) for mine, right, least in counts)


def choose_distractors(proposed: Sequence[str], answer: str, name: str) -> list[str]:
    """Return three options, or fewer where there are fewer.

    How many of them are shorter than the answer follows from the digest of the question's name, as far as the proposed
    ones allow, so that the answer is the longest or the shortest option no more often than any other.
    """
    shorter = [each for each in proposed if len(each) < len(answer)]
    longer = [each for each in proposed if len(each) > len(answer)]
    wanted = digest_number(f"{name} length") % (USED + 1)
    chosen = [*shorter[:wanted], *longer[: USED - wanted]]
    rest = [each for each in proposed if each not in chosen]
    return [*chosen, *sorted(rest, key=lambda each: abs(len(each) - len(answer)))][:USED]


def place_options(answer: str, distractors: Sequence[str], name: str) -> tuple[str, tuple[str, ...]]:
    """Return the letter of the right option, and all options in order. The letter follows from the question's name."""
    others = sorted(distractors, key=lambda each: digest_number(f"{name} {each}"))
    place = digest_number(name) % (len(others) + 1)
    options = (*others[:place], answer, *others[place:])
    return LETTERS[place], _same_case(options)


def _same_case(options: Sequence[str]) -> tuple[str, ...]:
    """Return the options with a capital letter first, unless all begin alike."""
    if len({each[:1].isupper() for each in options}) == 1:
        return tuple(options)
    return tuple(each[:1].upper() + each[1:] for each in options)


def digest_number(text: str) -> int:
    """Return a number that follows from a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
