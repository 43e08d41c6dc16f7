"""Notes and clues: what is parsed of a model's lines, what is refused, and which spans are clues."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manifests.records import EvidenceSpan, Segment, Word
from pipeline.annotation.clues import (
    Clues,
    NamedClues,
    clue_flaw,
    format_spans,
    make_clues,
    parse_named_clues,
    spoken_clues,
)
from pipeline.annotation.notes import Note, parse_notes
from pipeline.annotation.text_rules import QuestionDraft, parse_questions
from tests.pipeline.scripted import QUESTIONS, transcript, with_clues

LINES = "[0-4.5] a cook at the stove\n[4.5-8] a red kettle"
PARSED = (Note(0, 4.5, "a cook at the stove"), Note(4.5, 8, "a red kettle"))

FORMS: dict[str, tuple[str, set[str]]] = {
    "a fence": (f"```\n{LINES}\n```", {"fence"}),
    "bullets": ("\n".join(f"- {line}" for line in LINES.splitlines()), {"markup"}),
    "bold": (LINES.replace("[0-4.5]", "**[0-4.5]**"), {"markup"}),
    "numbers": ("\n".join(f"{n}. {line}" for n, line in enumerate(LINES.splitlines(), 1)), {"labels"}),
    "names": ("\n".join(f"S{n}: {line}" for n, line in enumerate(LINES.splitlines(), 1)), {"labels"}),
    "units": ("[0 s - 4.5 s] a cook at the stove\n[4.5s – 8s]: a red kettle", {"labels"}),
    "minutes": ("(0:00-0:04.5) a cook at the stove\n(0:04.5-0:08) a red kettle", {"labels"}),
    "words": (f"Here are my notes:\n{LINES}\nI hope this helps.", {"preamble", "postscript"}),
    "lines": ("[0-4.5]\na cook at the stove\n[4.5-8]\na red kettle", {"broken lines"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_notes_of_a_plain_meaning_are_read_in_any_form(form: str) -> None:
    written, departures = FORMS[form]
    found = parse_notes(written)
    assert (found.notes, set(found.departures)) == (PARSED, departures)
    with pytest.raises(ValueError, match=r"line \d is not as it should be"):
        parse_notes(written, strict=True)


def test_notes_in_the_form_depart_from_nothing() -> None:
    for strict in (True, False):
        assert parse_notes(LINES, strict).notes == PARSED
        assert parse_notes(LINES, strict).departures == ()
        assert parse_notes(" Nothing. ", strict).notes == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a cook at the stove", 1),
        ("1.5-3 a cook", 1),  # note 1 of 5 to 3 seconds, or a span from 1.5 on
        ("[0-4.5]", 1),
        ("[0-4.5] ...", 1),
        (f"{LINES}\nthen something\n[8-9] a lid", 3),
        ("[early-late] a cook", 1),
        ("[0,5-3,0] a cook", 1),
        ("[0-4.5]\n[4.5-8] a red kettle", 1),
    ],
)
def test_notes_of_two_meanings_or_none_are_refused(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"^line {line} is not as it should be: '\[start-end\] text'$"):
        parse_notes(text)


def test_notes_outside_of_the_clip_are_no_clues() -> None:
    notes = [
        Note(0, 2, "a cook"),
        Note(3, 2, "a lid"),
        Note(7, 9.9, "a cat"),
        Note(7, 8.4, "a dog"),
        Note(8, 8.3, "a pan"),
        Note(1, 2, "I cannot see the video."),
    ]
    clues, left_out = make_clues(notes, "seen", 8)
    assert [(each.start, each.end, each.text) for each in clues] == [(0, 2, "a cook"), (7, 8, "a dog")]
    assert left_out == [
        "note 2 of what is seen: without a span",
        "note 3 of what is seen: outside of the clip",
        "note 5 of what is seen: outside of the clip",
        "note 6 of what is seen: refused",
    ]


def said(*words: tuple[str, float, float]) -> Segment:
    spoken = tuple(Word(text=text, start=start, end=end) for text, start, end in words)
    return Segment(start=spoken[0].start, end=spoken[-1].end, text=" ".join(w.text for w in spoken), words=spoken)


def test_words_are_clues_by_phrase() -> None:
    whole = replace(
        transcript(),
        segments=(
            said(("Now", 0.1, 0.4), ("it", 0.5, 0.6), ("boils.", 0.7, 1.0), ("Take", 1.5, 2), ("it", 6, 6.8)),
            Segment(start=7.0, end=9.0, text="and pour", words=()),
            Segment(start=9.0, end=9.5, text="beyond", words=()),
        ),
    )
    assert format_spans(spoken_clues(whole, 8.0)).splitlines() == [
        'H1 [0.1-1] somebody says: "Now it boils."',
        'H2 [1.5-2] somebody says: "Take"',
        'H3 [6-6.8] somebody says: "it"',
        'H4 [7-8] somebody says: "and pour"',
    ]


NAMED = with_clues(QUESTIONS, "S1 H1", "S2 H1", "S2 H10")
NAMES = (("S1", "H1"), ("S2", "H1"), ("S2", "H10"))


def test_clues_are_taken_from_their_lines() -> None:
    assert parse_named_clues(NAMED, 3) == parse_named_clues(NAMED, 3, strict=True) == NamedClues(NAMES, QUESTIONS, ())


@pytest.mark.parametrize(
    ("old", "new", "departure"),
    [
        ("E2: S2 H1", "E2: S2, H1", "labels"),
        ("E2: S2 H1", "Evidence: (S2) and (H1)", "labels"),
        ("E2: S2 H1", "Clues 2 - s2 + h1.", "labels"),
        ("E2: S2 H1", "**E2: S2 H1**", "markup"),
        ("E2: S2 H1", "E2:\nS2 H1", "broken lines"),
    ],
)
def test_clues_are_read_in_any_form(old: str, new: str, departure: str) -> None:
    found = parse_named_clues(NAMED.replace(old, new), 3)
    assert (found.names, found.rest, found.departures) == (NAMES, QUESTIONS, (departure,))
    with pytest.raises(ValueError, match="line 'E2: S1 H1' is missing or not as it should be"):
        parse_named_clues(NAMED.replace(old, new), 3, strict=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("E2: S2 H1", ""),
        ("E2: S2 H1", "E3: S2 H1"),
        ("E2: S2 H1", "E2: S2 or S3 with H1"),
        ("E2: S2 H1", "E2: the second"),
    ],
)
def test_lines_that_name_no_clues_are_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError, match="line 'E2: S1 H1' is missing or not as it should be"):
        parse_named_clues(NAMED.replace(old, new), 3)


def test_lines_of_no_question_are_refused() -> None:
    with pytest.raises(ValueError, match="line 'E3: S1 H1' is one too many"):
        parse_named_clues(NAMED, 2)
    twice = parse_named_clues(NAMED.replace("E2: S2 H1", "E2: S2 H1\nE2: S1 H1"), 3)
    with pytest.raises(ValueError, match="line 5 is not as it should be"):
        parse_questions(twice.rest, 3)


def span(sense: str) -> EvidenceSpan:
    return EvidenceSpan(sense=sense, start=0, end=1, text="a lid")


@pytest.mark.parametrize(
    ("names", "flaw"),
    [
        (("S1", "H2"), None),
        (("H2", "S1"), None),
        (("S1", "S1", "H2"), None),
        (("S2", "H1"), "rests on a clue that does not exist"),
        (("S1", "H0"), "rests on a clue that does not exist"),
        (("S1",), "rests on one sense"),
        (("H1", "H2"), "rests on one sense"),
        (("S1", "H1", "H2"), "rests on several clues of a sense"),
    ],
)
def test_a_question_rests_on_one_clue_of_each_sense(names: tuple[str, ...], flaw: str | None) -> None:
    clues = Clues((span("seen"),), (span("heard"), span("heard")))
    draft = QuestionDraft("order", "What is heard?", "a lid")
    assert clue_flaw(draft, names, clues) == flaw
    if flaw is None:
        assert clue_flaw(replace(draft, question=f"What is heard at {names[0]}?"), names, clues) == "names its clues"
