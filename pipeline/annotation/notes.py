"""Parse a model's notes about a clip: a line for each, `[start-end] text`, in seconds on the clip's clock.

Accepted is what has one meaning only: Markdown, a number before a note, a unit, minutes, other brackets and dashes, a
text on the line after its span, and words before the first note or after the last. Departures have the names that those
of questions have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.annotation.question_formats import strip_markup
from stages.text_metrics import words

FORM = "[start-end] text"
NOTHING = re.compile(r"\W*nothing\W*", re.IGNORECASE)
EXACT = re.compile(r"\[(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)\] (\S.*)")
TIME = r"((?:\d+:){0,2}\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds)?\.?"
# Without brackets, `1.5-3 text` could be note 1 or a span that starts at 1.5.
LENIENT = re.compile(
    rf"(?:(?:note|clue)?\s*[a-z]?\d+\s*[.:)\]-]?\s*)?[\[(（【]\s*{TIME}\s*(?:-|–|—|~|to)\s*{TIME}\s*[\])）】]\s*[-:–—]?\s*(.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Note:
    """What a model says of a span of a clip, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class ParsedNotes:
    """Notes in their order, and the names of the departures from the form."""

    notes: tuple[Note, ...]
    departures: tuple[str, ...] = ()


def parse_notes(text: str, strict: bool = False) -> ParsedNotes:
    """Parse notes; `nothing` alone gives none. strict: in the prompt's form only.

    ValueError names the line that departs from the form, without words of the text, since it goes into a prompt.
    """
    if NOTHING.fullmatch(text.strip()):
        return ParsedNotes(())
    found = dict[str, None]()
    lines = [line.strip() for line in text.splitlines() if line.strip()] if strict else list(strip_markup(text, found))
    notes = [_parse_line(line, strict, found) for line in lines]
    if not strict:
        notes = list(_join_lines(lines, notes, found))
        notes = _strip_ends(notes, found)
    for number, note in enumerate(notes or [None], start=1):
        if note is None or not words(note.text):
            raise ValueError(f"line {number} is not as it should be: {FORM!r}")
    return ParsedNotes(tuple(note for note in notes if note is not None), tuple(found))


def _parse_line(line: str, strict: bool, found: dict[str, None]) -> Note | None:
    """Return the note of a line, possibly without a text; None if it is none."""
    if exact := EXACT.fullmatch(line):
        return Note(float(exact[1]), float(exact[2]), exact[3])
    lenient = None if strict else LENIENT.fullmatch(line)
    if lenient is None:
        return None
    if lenient[3]:
        found["labels"] = None
    return Note(_seconds(lenient[1]), _seconds(lenient[2]), lenient[3])


def _seconds(time: str) -> float:
    """Return the seconds of `4.5`, `1:04.5` or `0:01:04.5`."""
    total = 0.0
    for part in time.split(":"):
        total = 60 * total + float(part)
    return total


def _join_lines(lines: Sequence[str], notes: Sequence[Note | None], found: dict[str, None]) -> Iterator[Note | None]:
    """Yield the notes, with the line after a span as its text."""
    waiting: Note | None = None
    for line, note in zip(lines, notes, strict=True):
        if waiting is not None and note is None:
            found["broken lines"] = None
            yield Note(waiting.start, waiting.end, line)
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = note if note is not None and not note.text else None
        if waiting is None:
            yield note
    if waiting is not None:
        yield waiting


def _strip_ends(notes: Sequence[Note | None], found: dict[str, None]) -> list[Note | None]:
    """Return the lines from the first note to the last; all lines if there is no note."""
    places = [n for n, note in enumerate(notes) if note is not None]
    if not places:
        return list(notes)
    if places[0]:
        found["preamble"] = None
    if places[-1] < len(notes) - 1:
        found["postscript"] = None
    return list(notes[places[0] : places[-1] + 1])
