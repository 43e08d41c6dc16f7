"""Rules for texts of people and models: their language and form, generated questions, and the flaws of these.

Pure functions, without models: steps use them to detect answers that are refused, cut off, in another language or not
in the form of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from pipeline.annotation.phrases import is_refusal, names_subtitles
from stages.choice_parsing import chosen_letter
from stages.languages import detect_language, detect_script
from stages.text_metrics import exact, f1, significant_words, words

KINDS = ("speech", "source", "order", "count", "reason", "mood")
"""Kinds of questions, as in the prompt of `ask`."""
SOUND_KINDS = ("voice", "music", "noise", "source", "order", "count")
"""Kinds of questions about a clip in which nothing is said, as in the prompt of `ask_sound`."""
LETTERS = "ABCD"
LONGEST_QUESTION, LONGEST_ANSWER = 80, 80  # words; those of the paper are short
SAME_QUESTION = 0.8  # F1 of the words; "What does he say?" and "What does she say?" differ, at 0.75

SOUND_NOTES = re.compile(r"\[[^\]]*\]|\([^)]*\)|（[^）]*）|【[^】]*】|\*[^*]*\*|[♩♪♫♬#]")  # [Music], (laughs), ♪


@dataclass(frozen=True)
class QuestionDraft:
    """A question as a model wrote it. answer: in words; of a multiple choice, the option at `letter`."""

    kind: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    letter: str = ""


def remove_sound_notes(text: str) -> str:
    """Return a subtitle without notes and without sounds in brackets."""
    return SOUND_NOTES.sub(" ", text).strip()


def repeated_pair_share(text: str) -> float:
    """Return the share of word pairs that came before: 0 for most speech, near 1 for a loop."""
    pairs = list(pairwise(words(text)))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def is_other_language(text: str, like: str) -> bool:
    """Return whether `text` is in another script or language than `like`; Latin names are allowed in any script."""
    found, home = detect_script(text), detect_script(like)
    if found is None or home is None:
        return False
    if found != home:
        return found != "LATIN" or len(words(text)) > 3
    codes = {detect_language(text), detect_language(like)} - {None}
    return len(codes) > 1


def format_question(question: str, options: Sequence[str]) -> str:
    """Return a question with its lettered options, as it is put to a model."""
    return "\n".join([question, *(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))])


def option_text(answer: str, options: Sequence[str]) -> str:
    """Return the option that an answer chooses, by its letter or its words; else the answer itself."""
    by_letter = dict(zip(LETTERS, options, strict=False))
    return by_letter.get(chosen_letter(answer, by_letter) or "", answer) if options else answer


def answer_fault(text: str, finish: str) -> str | None:
    """Return what is wrong with an answer as a whole (`empty`, `refused`, `cut off`), or None."""
    if not words(text):
        return "empty"
    if is_refusal(text):
        return "refused"
    return "cut off" if finish == "length" else None


def parse_questions(text: str, count: int, choice: bool = False, kinds: Sequence[str] = KINDS) -> list[QuestionDraft]:
    """Parse `count` questions of these kinds in the form of the prompts `ask_open` or `ask_choice`.

    ValueError names the line that departs from the form, without words of the text, since it goes into a prompt. Empty
    questions and answers are left to `question_flaws`.
    """
    found: list[str] = []
    forms, lines = (
        list(_expected_lines(count, choice, kinds)),
        [line.strip() for line in text.splitlines() if line.strip()],
    )
    for number, (line, form) in enumerate(zip_longest(lines, forms), start=1):
        if form is None:
            raise ValueError(f"line {number} is one too many")
        match = re.fullmatch(form[1], line or "")
        if match is None:
            raise ValueError(f"line {number} is {'missing' if line is None else 'not as it should be'}: {form[0]!r}")
        found += match.groups()
    size = len(found) // count
    return [_make_draft(*found[start : start + size]) for start in range(0, len(found), size)]


def question_flaws(questions: Sequence[QuestionDraft], like: str) -> list[str | None]:
    """Return the flaw of each question of a clip, or None. like: a text in the language of the clip."""
    kept: list[QuestionDraft] = []
    found = []
    for draft in questions:
        found.append(_find_flaw(draft, kept, like))
        kept += [] if found[-1] else [draft]
    return found


def _find_flaw(draft: QuestionDraft, kept: Sequence[QuestionDraft], like: str) -> str | None:
    question_words, answer_words = words(draft.question), words(draft.answer)
    choices = {tuple(significant_words(each)) for each in draft.options}
    rules = {
        "empty": not question_words or not significant_words(draft.answer) or () in choices,
        "over-long": len(question_words) > LONGEST_QUESTION or len(answer_words) > LONGEST_ANSWER,
        "refused": is_refusal(draft.question) or is_refusal(draft.answer),
        "names the subtitles": names_subtitles(draft.question) or names_subtitles(draft.answer),
        "leaks its answer": leaks_answer(draft.question, draft.answer),
        "repeats an option": len(choices) < len(draft.options),
        "repeats a question": any(f1(draft.question, other.question) >= SAME_QUESTION for other in kept),
        "repeats an answer": any(exact(draft.answer, other.answer) for other in kept),
        "not in the language of the clip": is_other_language(draft.question, like)
        or is_other_language(draft.answer, like),
    }
    return next((reason for reason, broken in rules.items() if broken), None)


def leaks_answer(question: str, answer: str) -> bool:
    """Return whether the question contains the answer's words in a row."""
    answer_words = significant_words(answer)
    return bool(answer_words) and f" {' '.join(answer_words)} " in f" {' '.join(significant_words(question))} "


def _expected_lines(count: int, choice: bool, kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield for each line its form in words and its pattern."""
    for number in range(1, count + 1):
        yield f"Q{number} ({', '.join(kinds)}): question", rf"Q{number} \(({'|'.join(kinds)})\):\s*(.*)"
        if choice:
            yield from ((f"{letter}) option", rf"{letter}\)\s*(.*)") for letter in LETTERS)
        yield f"A{number}: {'letter' if choice else 'answer'}", _answer_pattern(number, choice)


def _answer_pattern(number: int, choice: bool) -> str:
    return rf"A{number}:\s*" + (rf"([{LETTERS}])(?:[).:].*)?" if choice else "(.*)")


def _make_draft(kind: str, question: str, *rest: str) -> QuestionDraft:
    *options, answer = rest
    if not options:
        return QuestionDraft(kind, question, answer)
    return QuestionDraft(kind, question, options[LETTERS.index(answer)], tuple(options), answer)
