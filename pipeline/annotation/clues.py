"""Clues about a clip: notes of the picture and of the sound, spoken words and sound events, each with its span.

Clues are numbered by sense, `S1` and `H1`, in prompts and in the lines by which a question names what it rests on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from manifests.records import EvidenceSpan, Segment, Transcript, Word
from pipeline.annotation.notes import Note
from pipeline.annotation.phrases import is_refusal
from pipeline.annotation.question_formats import strip_markup
from pipeline.annotation.text_rules import QuestionDraft

SEEN, HEARD = "seen", "heard"
MARKS: Mapping[str, str] = {SEEN: "S", HEARD: "H"}
LONGEST_PHRASE_S = 5.0  # spoken words are cut into phrases: at the end of a sentence, else after so many seconds
SENTENCE_ENDS = ".!?。！？…"
BEYOND_S = 0.5  # a note may end so much after the clip: models round to whole seconds
LEAST_S = 0.1

EXACT = re.compile(r"E(\d+): (S\d+ H\d+)")
LINE = re.compile(r"(?:e|evidence|clues?)\s*(\d*)\s*[:.)：\-–—]\s*(.*)", re.IGNORECASE)
REFERENCE = re.compile(r"(?<![a-z0-9])([sh])(\d+)(?![a-z0-9])", re.IGNORECASE)
BETWEEN = re.compile(r"(?:and|[\s,;+&/、，()\[\].])*", re.IGNORECASE)


@dataclass(frozen=True)
class Clues:
    """The clues of a clip by sense, numbered from 1, and the notes that are none, each with its reason."""

    seen: tuple[EvidenceSpan, ...]
    heard: tuple[EvidenceSpan, ...]
    left_out: tuple[str, ...] = ()

    def find(self, name: str) -> EvidenceSpan | None:
        """Return the clue `S1` or `H1`; None if there is no such clue."""
        some, number = (self.seen if name[0] == MARKS[SEEN] else self.heard), int(name[1:])
        return some[number - 1] if 1 <= number <= len(some) else None


def make_clues(notes: Sequence[Note], sense: str, seconds: float) -> tuple[list[EvidenceSpan], list[str]]:
    """Return the notes that are clues about a clip of so many seconds, and the reasons of the others."""
    clues, left_out = list[EvidenceSpan](), list[str]()
    for number, note in enumerate(notes, start=1):
        if flaw := note_flaw(note, seconds):
            left_out.append(f"note {number} of what is {sense}: {flaw}")
        else:
            end = min(note.end, seconds)
            clues.append(EvidenceSpan(sense=sense, start=round(note.start, 3), end=round(end, 3), text=note.text))
    return clues, left_out


def note_flaw(note: Note, seconds: float) -> str | None:
    """Return why a note of a clip of so many seconds is no clue, or None."""
    if note.start > seconds - LEAST_S or note.end > seconds + BEYOND_S:
        return "outside of the clip"
    if note.end - note.start < LEAST_S:
        return "without a span"
    return "refused" if is_refusal(note.text) else None


def spoken_clues(transcript: Transcript, seconds: float) -> list[EvidenceSpan]:
    """Return the phrases of a transcript as clues; speech outside of the clip is left out."""
    found = []
    for phrase in (each for segment in transcript.segments for each in _phrases(segment)):
        start, end = max(0.0, phrase[0].start), min(phrase[-1].end, seconds)
        if end - start >= LEAST_S:
            text = f'somebody says: "{" ".join(word.text for word in phrase)}"'
            found.append(EvidenceSpan(sense=HEARD, start=round(start, 3), end=round(end, 3), text=text))
    return found


def _phrases(segment: Segment) -> Iterator[list[Word]]:
    """Yield the words of a segment by phrase; a segment without words as one."""
    phrase: list[Word] = []
    for word in segment.words or (Word(text=segment.text, start=segment.start, end=segment.end),):
        if phrase and (phrase[-1].text.endswith(tuple(SENTENCE_ENDS)) or word.end - phrase[0].start > LONGEST_PHRASE_S):
            yield phrase
            phrase = []
        phrase.append(word)
    yield phrase


def format_spans(spans: Iterable[EvidenceSpan], numbered: bool = True) -> str:
    """Return a line for each span: `S1 [0-4.5] a cook`, without the number where they are not numbered."""
    lines = []
    for number, span in enumerate(spans, start=1):
        mark = f"{MARKS[span.sense]}{number} " if numbered else ""
        lines.append(f"{mark}[{format_seconds(span.start)}-{format_seconds(span.end)}] {' '.join(span.text.split())}")
    return "\n".join(lines)


def format_seconds(seconds: float) -> str:
    """Return seconds with at most two decimals: `4`, `4.5`, `4.25`."""
    return f"{round(seconds, 2):g}"


@dataclass(frozen=True)
class NamedClues:
    """Names of the clues of each question. rest: the answer without these lines. departures: from the form."""

    names: tuple[tuple[str, ...], ...]
    rest: str
    departures: tuple[str, ...]


def parse_named_clues(text: str, count: int, strict: bool = False) -> NamedClues:
    """Take the lines `E1: S1 H1` out of an answer with `count` questions. strict: in the prompt's form only.

    ValueError says what is wrong with the form, without words of the text. Numbers of clues are not checked.
    """
    found, departures, rest = list[tuple[str, ...]](), dict[str, None](), list[str]()
    lines = text.splitlines() if strict else _join_labels(list(strip_markup(text, departures)), departures)
    for line in lines:
        names = _parse_line(line, len(found) + 1, strict, departures)
        if names is None:
            rest.append(line)
        else:
            found.append(names)
    if len(found) < count:
        raise ValueError(f"line 'E{len(found) + 1}: S1 H1' is missing or not as it should be")
    if len(found) > count:
        raise ValueError(f"line 'E{count + 1}: S1 H1' is one too many")
    return NamedClues(tuple(found), "\n".join(rest), tuple(departures))


def _join_labels(lines: Sequence[str], departures: dict[str, None]) -> Iterator[str]:
    """Yield the lines, with clues on the line after their label joined to it."""
    label = ""
    for line in lines:
        if label and _is_clues(line):
            departures["broken lines"] = None
            yield f"{label} {line}"
            label = ""
            continue
        if label:
            yield label
        match = LINE.fullmatch(line)
        label = line if match and not match[2] else ""
        if not label:
            yield line
    if label:
        yield label


def _is_clues(text: str) -> bool:
    """Return whether a text consists of names of clues."""
    return bool(REFERENCE.search(text)) and BETWEEN.fullmatch(REFERENCE.sub("", text)) is not None


def _parse_line(line: str, number: int, strict: bool, departures: dict[str, None]) -> tuple[str, ...] | None:
    """Return the names of the clues in a line; None if it is not the line of this question."""
    line = line.strip()
    match = EXACT.fullmatch(line) if strict else LINE.fullmatch(line)
    if match is None or (match[1] or str(number)) != str(number):
        return None
    if not _is_clues(match[2]):
        return None
    names = tuple(f"{mark.upper()}{int(digits)}" for mark, digits in REFERENCE.findall(match[2]))
    if line != f"E{number}: {' '.join(names)}":
        departures["labels"] = None
    return names


def clue_flaw(draft: QuestionDraft, names: Sequence[str], clues: Clues) -> str | None:
    """Return why a question does not rest on one clue that is seen and one that is heard, or None."""
    if any(clues.find(name) is None for name in names):
        return "rests on a clue that does not exist"
    marks = [name[0] for name in dict.fromkeys(names)]
    if len(set(marks)) < len(MARKS):
        return "rests on one sense"
    if len(marks) > len(MARKS):
        return "rests on several clues of a sense"
    texts = (draft.question, draft.answer)
    return "names its clues" if any(re.search(rf"\b{name}\b", text) for name in names for text in texts) else None
