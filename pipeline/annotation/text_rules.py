"""Rules about text of people and models: its words, its language, its questions, and their flaws.

Pure functions: the steps that ask use them to tell a usable answer from one that is refused, cut off, in another
language or not in the form that was asked for. They know no step and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from pipeline.annotation.phrases import names_subtitles, refuses
from stages.choice_parsing import chosen_letter
from stages.languages import detect_language, detect_script
from stages.text_metrics import exact, f1, significant_words, words

KINDS = ("speech", "source", "order", "count", "reason", "mood")
"""What the prompt of `ask` calls the kinds of questions."""
LETTERS = "ABCD"
LONGEST_QUESTION, LONGEST_ANSWER = 80, 80  # words; the paper's are short, and whole paragraphs are no question
SAME_QUESTION = 0.8  # F1 of the words: "What does he say?" and "What does she say?" are two questions at 0.75

SOUND_NOTES = re.compile(r"\[[^\]]*\]|\([^)]*\)|（[^）]*）|【[^】]*】|\*[^*]*\*|[♩♪♫♬#]")  # [Music], (laughs), ♪


@dataclass(frozen=True)
class QuestionDraft:
    """A question as a model wrote it. answer: in words; `options` hold it, of a multiple choice, at `letter`."""

    kind: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    letter: str = ""


def without_sound_notes(text: str) -> str:
    """What is left of a subtitle without notes and sounds in brackets."""
    return SOUND_NOTES.sub(" ", text).strip()


def repetition(text: str) -> float:
    """Share of the pairs of neighbouring words that came before: 0 for most speech, near 1 for a loop."""
    pairs = list(pairwise(words(text)))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def is_other_language(text: str, like: str) -> bool:
    """Whether a text is in another script or language than another; a name in Latin letters is at home anywhere."""
    found, home = detect_script(text), detect_script(like)
    if found is None or home is None:
        return False
    if found != home:
        return found != "LATIN" or len(words(text)) > 3
    codes = {detect_language(text), detect_language(like)} - {None}
    return len(codes) > 1


def format_question(question: str, options: Sequence[str]) -> str:
    """A question as it is put to a model, with its options by their letters."""
    return "\n".join([question, *(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))])


def option_text(answer: str, options: Sequence[str]) -> str:
    """The option that an answer to a multiple choice means, by its letter or its words; else the answer itself."""
    by_letter = dict(zip(LETTERS, options, strict=False))
    return by_letter.get(chosen_letter(answer, by_letter) or "", answer) if options else answer


def answer_fault(text: str, finish: str) -> str | None:
    """What is wrong with a whole answer, whatever was asked."""
    if not words(text):
        return "empty"
    if refuses(text):
        return "refused"
    return "cut off" if finish == "length" else None


def parse_questions(text: str, count: int, choice: bool = False) -> list[QuestionDraft]:
    """Read `count` questions in the form of the prompts `ask_open` or `ask_choice`.

    ValueError says at which line the text leaves the form, in no word of the text: it goes into a prompt. Empty
    questions and answers are left for `flaws`.
    """
    found: list[str] = []
    forms, lines = list(_forms(count, choice)), [line.strip() for line in text.splitlines() if line.strip()]
    for number, (line, form) in enumerate(zip_longest(lines, forms), start=1):
        if form is None:
            raise ValueError(f"line {number} is one too many")
        match = re.fullmatch(form[1], line or "")
        if match is None:
            raise ValueError(f"line {number} is {'missing' if line is None else 'not as it should be'}: {form[0]!r}")
        found += match.groups()
    size = len(found) // count
    return [_draft(*found[start : start + size]) for start in range(0, len(found), size)]


def question_flaws(questions: Sequence[QuestionDraft], like: str) -> list[str | None]:
    """Why each question of a clip is not kept, or None. like: the transcript, whose language they must be in."""
    kept: list[QuestionDraft] = []
    found = []
    for draft in questions:
        found.append(_flaw(draft, kept, like))
        kept += [] if found[-1] else [draft]
    return found


def _flaw(draft: QuestionDraft, kept: Sequence[QuestionDraft], like: str) -> str | None:
    asked, said = words(draft.question), words(draft.answer)
    choices = {tuple(significant_words(each)) for each in draft.options}
    rules = {
        "empty": not asked or not significant_words(draft.answer) or () in choices,
        "over-long": len(asked) > LONGEST_QUESTION or len(said) > LONGEST_ANSWER,
        "refused": refuses(draft.question) or refuses(draft.answer),
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
    """Whether the words of the answer stand in the question, in a row."""
    given = significant_words(answer)
    return bool(given) and f" {' '.join(given)} " in f" {' '.join(significant_words(question))} "


def _forms(count: int, choice: bool) -> Iterator[tuple[str, str]]:
    """What each line should be: as one would say it, and as a pattern."""
    for number in range(1, count + 1):
        yield f"Q{number} ({', '.join(KINDS)}): question", rf"Q{number} \(({'|'.join(KINDS)})\):\s*(.*)"
        if choice:
            yield from ((f"{letter}) option", rf"{letter}\)\s*(.*)") for letter in LETTERS)
        yield f"A{number}: {'letter' if choice else 'answer'}", _answer_form(number, choice)


def _answer_form(number: int, choice: bool) -> str:
    return rf"A{number}:\s*" + (rf"([{LETTERS}])(?:[).:].*)?" if choice else "(.*)")


def _draft(kind: str, question: str, *rest: str) -> QuestionDraft:
    *options, answer = rest
    if not options:
        return QuestionDraft(kind, question, answer)
    return QuestionDraft(kind, question, options[LETTERS.index(answer)], tuple(options), answer)
