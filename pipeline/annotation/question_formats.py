"""Normalize a model's questions to the form of the prompt, and name the departures from this form.

Accepted is what has one meaning only: a code fence, bold type, bullets, other labels (`Question 1 [speech] -`,
`答案1：`), a text on the line after its label, and words before the first question or after the last answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stages.choice_parsing import chosen_letter

# Labels that models use instead of the prompt's `Q1` and `A1`, in the most common languages of clips.
QUESTION = "q|question|frage|pregunta|pergunta|domanda|vraag|вопрос|问题?|問題?|質問|질문"
ANSWER = (
    "a|answer|correct answer|antwort|respuesta|réponse|reponse|resposta|risposta|antwoord|ответ|答案?|回答|答え|정답|답"
)
FENCE = re.compile(r"(?:```|~~~)\s*\w*")
RULE = re.compile(r"[-*_=]{3,}")
MARKS = re.compile(r"^(?:[-+*•·>]\s+|#+\s+)+|\*\*|(?<!\w)__(?=\w)|(?<=[\w.:?!)])__(?!\w)|^`|`$")
OPEN, CLOSE, COLON = r"[(\[（【]", r"[)\]）】]", r"[\s:：.、)\-–—]*"


@dataclass
class NormalizedQuestions:
    """Lines in the prompt's form, and the names of the departures from it."""

    lines: list[str] = field(default_factory=list)
    departures: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


def normalize_questions(text: str, kinds: Sequence[str], letters: str = "") -> NormalizedQuestions:
    """Convert a model's questions to the form of the prompt; lines that cannot be parsed stay as they are.

    kinds: of questions. letters: of the options of a multiple choice; "" where answers are in words.
    """
    found = dict[str, None]()
    lines = list(strip_markup(text, found))
    read = _read_lines(lines, kinds, letters, found)
    first = next((n for n, line in enumerate(read) if _is_label(line, "Q")), 0)
    last = max((n for n, line in enumerate(read) if _is_label(line, "A")), default=len(read) - 1)
    if first:
        found["preamble"] = None
    if last < len(read) - 1:
        found["postscript"] = None
    return NormalizedQuestions(read[first : last + 1], tuple(found))


def strip_markup(text: str, found: dict[str, None]) -> Iterator[str]:
    """Yield the lines that are not empty, without Markdown. found: gets the names of what is removed."""
    for line in filter(None, map(str.strip, text.splitlines())):
        if FENCE.fullmatch(line) or RULE.fullmatch(line):
            found["fence" if FENCE.fullmatch(line) else "markup"] = None
            continue
        plain = MARKS.sub("", line).strip()
        if plain != line:
            found["markup"] = None
        yield plain


def _read_lines(lines: Sequence[str], kinds: Sequence[str], letters: str, found: dict[str, None]) -> list[str]:
    """Return the lines with the labels of the prompt; a text below its label is joined to it."""
    read, number, options = list[str](), 0, dict[str, str]()
    for line in lines:
        label, number = _normalize_label(line, kinds, letters, number)
        if label == line and read and read[-1].endswith(": ") and not _is_label(line, "QA"):
            label = read.pop() + line
            found["broken lines"] = None
        if letters and _is_label(label, "Q"):
            options = {}
        elif letters and (option := re.fullmatch(rf"([{letters}])\) (.*)", label)):
            options[option[1]] = option[2]
        elif letters and _is_label(label, "A"):
            label = _replace_by_letter(label, options)
        if not label.endswith(line) and re.sub(r"([:)])\s+", r"\1 ", line) != label.rstrip():
            found["labels"] = None
        read.append(label)
    return read


def _normalize_label(line: str, kinds: Sequence[str], letters: str, number: int) -> tuple[str, int]:
    """Return a line with the label of the prompt, and the number of its question."""
    kind = rf"{OPEN}?\s*({'|'.join(kinds)})\s*{CLOSE}?"
    question = re.fullmatch(rf"(?:(?:{QUESTION})\s*(\d*)|(\d+)){COLON}{kind}\s*{COLON}(.*)", line, re.IGNORECASE)
    if question and (question[1] or question[2] or str(number + 1)) == str(number + 1):
        return f"Q{number + 1} ({question[3].lower()}): {question[4]}", number + 1
    option = re.fullmatch(rf"{OPEN}?([{letters}{letters.lower()}])[).:\]：）、]\s*(.*)", line) if letters else None
    if option:
        return f"{option[1].upper()}) {option[2]}", number
    answer = re.fullmatch(rf"(?:{ANSWER})\s*(\d*)\s*[.:：)]\s*(.*)", line, re.IGNORECASE)
    if answer and number and (answer[1] or str(number)) == str(number):
        return f"A{number}: {answer[2]}", number
    return line, number


def _replace_by_letter(line: str, options: dict[str, str]) -> str:
    """Return the line of an answer with the letter of the option that it chooses."""
    label, _, answer = line.partition(": ")
    letter = chosen_letter(answer, options)
    return f"{label}: {letter}" if letter else line


def _is_label(line: str, kinds: str) -> bool:
    return re.match(rf"[{kinds}]\d+( \(\w+\))?:", line) is not None
