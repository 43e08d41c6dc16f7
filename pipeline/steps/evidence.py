"""`ask.style: evidence`: collect clues of each sense first, then write questions that rest on one of each.

    frames ─► notes ─┐
                     ├─► numbered clues (text alone) ─► questions, answers, and the clues that each rests on
    sound  ─► notes ─┘ + the words, and sound events, with their times

No call gets frames and sound together, in which a model takes what it sees for what it hears. The questions are written
from the clues alone, without media, so that a question cannot rest on anything that no clue says. Whether an answer is
found from the spans of its clues, and only from them, is measured by `verify`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from manifests.records import ClipMedia, Drop, EvidenceSpan, ModelCall, Question
from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.asked_twice import ParsedAnswer, ask_twice
from pipeline.annotation.clues import (
    HEARD,
    SEEN,
    Clues,
    clue_flaw,
    format_seconds,
    format_spans,
    make_clues,
    parse_named_clues,
    spoken_clues,
)
from pipeline.annotation.notes import ParsedNotes, parse_notes
from pipeline.annotation.sound_events import sound_clues
from pipeline.annotation.text_rules import QuestionDraft, answer_fault, question_flaws
from pipeline.errors import BadMedia
from pipeline.media.audio import sound_seconds
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from ola.prompt import Request
    from pipeline.steps.ask import Ask, AskInput

PROMPTS = ("ask_seen", "ask_heard", "ask_evidence", "ask_evidence_open", "ask_evidence_choice")
PROCEDURE = 1  # version of what is done with the answers
NOUNS = {SEEN: "notes of the picture", HEARD: "notes of the sound"}

Result = list[Question] | Drop | BadMedia


@dataclass(frozen=True)
class ClipClues:
    """The clues of a clip, with the calls that made its notes and the departures of their form."""

    clues: Clues
    calls: tuple[ModelCall, ...]
    departures: tuple[str, ...]


@dataclass(frozen=True)
class QuestionsWithClues:
    """Questions as a model wrote them, the names of the clues of each, and departures from the form."""

    drafts: Sequence[QuestionDraft]
    clues: Sequence[Sequence[str]]
    departures: tuple[str, ...]


def ask_from_evidence(step: Ask, batch: Sequence[AskInput]) -> list[Result]:
    """Return the questions of each clip; a drop by a score, without clues, or where no question passes the rules."""
    found: dict[str, ClipClues | Drop | BadMedia] = {}
    for entry in batch:
        drop = step.check_scores(entry.screening)
        if drop is None and entry.footage.sound is None:
            drop = Drop("no sound", "ask.style=evidence asks what is both seen and heard")
        if drop is not None:
            found[entry.screening.id] = drop
    found |= _collect_clues(step, [entry for entry in batch if entry.screening.id not in found])
    written = _write_questions(step, batch, {n: each for n, each in found.items() if isinstance(each, ClipClues)})
    return [
        _make_questions(step, entry, each, written[entry.screening.id]) if isinstance(each, ClipClues) else each
        for entry in batch
        for each in [found[entry.screening.id]]
    ]


def _collect_clues(step: Ask, batch: Sequence[AskInput]) -> dict[str, ClipClues | Drop | BadMedia]:
    """Return the clues of each clip, by the id of its screening."""
    known = {each.screening.id: _known_clues(step, each) for each in batch}
    requests = {
        f"{each.screening.id}-{sense}": _notes_request(step, each, sense, known[each.screening.id])
        for each in batch
        for sense in (SEEN, HEARD)
    }
    notes = ask_twice(step, requests, lambda _, call: _parse_notes(step, call))
    return {
        each.screening.id: _join_clues(
            each,
            known[each.screening.id],
            {sense: notes[f"{each.screening.id}-{sense}"] for sense in (SEEN, HEARD)},
        )
        for each in batch
    }


def _known_clues(step: Ask, entry: AskInput) -> list[EvidenceSpan]:
    """Return the words of a clip and, if asked for, its sound events, in the order of their start."""
    found = spoken_clues(entry.transcript, clip_seconds(entry.footage))
    wave = step.load.sound(entry.footage) if step.settings.sound_events else None
    if wave is not None:
        found += sound_clues(step.tagger, wave, entry.transcript.words > 0)
    return sorted(found, key=lambda each: (each.start, each.end))


def _notes_request(step: Ask, entry: AskInput, sense: str, known: Sequence[EvidenceSpan]) -> Request:
    """Return the request for notes of one sense. Its media begin as those of `caption` do, so they are read once."""
    from ola.prompt import Request

    clip, seconds = step.load(entry.footage), format_seconds(clip_seconds(entry.footage))
    if sense == SEEN:
        times = ", ".join(format_seconds(ms / 1000) for ms in entry.footage.frame_ms)
        text = fill_prompt("ask_seen", seconds=seconds, times=times)
        return Request(text, video=clip.video, max_new_tokens=step.settings.longest)
    lines = format_spans(known, numbered=False) or "nothing is known"
    text = fill_prompt("ask_heard", seconds=seconds, known=fence_text("known", lines))
    sounds = () if clip.sound is None else (clip.sound,)
    return Request(text, sounds=sounds, max_new_tokens=step.settings.longest)


def clip_seconds(footage: ClipMedia) -> float:
    """Return the length of a clip: that of its sound, or the time of its last frame."""
    sound = 0.0 if footage.sound is None else sound_seconds(footage.sound.size)
    return max(sound, footage.frame_ms[-1] / 1000 if footage.frame_ms else 0.0)


def _parse_notes(step: Ask, call: ModelCall) -> ParsedNotes | str:
    if fault := answer_fault(call.answer, call.finish):
        return fault
    try:
        return parse_notes(call.answer, step.settings.strict)
    except ValueError as error:
        return f"not in the form: {error}"


def _join_clues(
    entry: AskInput, known: Sequence[EvidenceSpan], notes: Mapping[str, ParsedAnswer[ParsedNotes]]
) -> ClipClues | Drop | BadMedia:
    """Return the clues of a clip, known ones before the model's; a drop if a sense has none."""
    spans: dict[str, list[EvidenceSpan]] = {SEEN: [], HEARD: list(known)}
    left_out, departures = list[str](), dict[str, None]()
    for sense, answer in notes.items():
        if answer.value is None:
            return answer.failure(NOUNS[sense])
        clues, flaws = make_clues(answer.value.notes, sense, clip_seconds(entry.footage))
        spans[sense] += clues
        left_out += flaws
        departures |= dict.fromkeys(answer.value.departures)
    for sense, some in spans.items():
        if not some:
            return Drop(f"no clue {sense}", "; ".join(left_out) or notes[sense].call.answer)
    calls = tuple(call for answer in notes.values() for call in answer.calls)
    return ClipClues(Clues(tuple(spans[SEEN]), tuple(spans[HEARD]), tuple(left_out)), calls, tuple(departures))


def _write_questions(
    step: Ask, batch: Sequence[AskInput], found: Mapping[str, ClipClues]
) -> dict[str, ParsedAnswer[QuestionsWithClues]]:
    """Return the questions that the model writes from the clues, by the id of the screening."""
    entries = {each.screening.id: each for each in batch if each.screening.id in found}
    requests = {f"{name}-questions": _questions_request(step, entries[name], found[name].clues) for name in entries}
    kinds = {f"{name}-questions": step.kinds(entry) for name, entry in entries.items()}
    answers = ask_twice(step, requests, lambda name, call: _parse_questions(step, call, kinds[name]))
    return {name: answers[f"{name}-questions"] for name in entries}


def _questions_request(step: Ask, entry: AskInput, clues: Clues) -> Request:
    from ola.prompt import Request

    count, name = str(step.settings.questions), "choice" if step.settings.options_with_questions else "open"
    text = fill_prompt(
        "ask_evidence",
        count=count,
        seconds=format_seconds(clip_seconds(entry.footage)),
        seen=fence_text("seen", format_spans(clues.seen)),
        heard=fence_text("heard", format_spans(clues.heard)),
        kinds=_kind_lines("ask" if entry.transcript.words else "ask_sound"),
        language=f"Write in {'the language of the words that are said' if entry.transcript.words else 'English'}.",
        form=fill_prompt(f"ask_evidence_{name}", count=count),
    )
    return Request(text, max_new_tokens=step.settings.longest)


def _kind_lines(name: str) -> str:
    """Return the lines of a prompt that describe the kinds of questions."""
    return "\n".join(line for line in prompt(name).splitlines() if line.startswith("- "))


def _parse_questions(step: Ask, call: ModelCall, kinds: Sequence[str]) -> QuestionsWithClues | str:
    """Return the questions with the names of their clues, or the fault of the answer."""
    if fault := answer_fault(call.answer, call.finish):
        return fault
    try:
        named = parse_named_clues(call.answer, step.settings.questions, step.settings.strict)
        drafts, departures = step.parse_form(named.rest, kinds)
    except ValueError as error:
        return f"not in the form: {error}"
    return QuestionsWithClues(drafts, named.names, tuple(dict.fromkeys((*named.departures, *departures))))


def _make_questions(step: Ask, entry: AskInput, found: ClipClues, answer: ParsedAnswer[QuestionsWithClues]) -> Result:
    """Return the questions of a clip that rest on two clues and pass the rules, or why there are none."""
    if answer.value is None:
        return answer.failure("questions")
    written, clues = answer.value, found.clues
    flaws = [clue_flaw(draft, names, clues) for draft, names in zip(written.drafts, written.clues, strict=True)]
    passed = [n for n, flaw in enumerate(flaws) if flaw is None]
    by_text = question_flaws([written.drafts[n] for n in passed], entry.transcript.text or prompt("ask_sound"))
    for n, flaw in zip(passed, by_text, strict=True):
        flaws[n] = flaw
    departures = tuple(dict.fromkeys((*found.departures, *written.departures)))
    kept = step.keep_questions(entry, written.drafts, flaws, answer.call, departures)
    if isinstance(kept, Drop):
        return kept
    return [
        replace(
            each,
            times=tuple(span for name in written.clues[each.number] if (span := clues.find(name)) is not None),
            note_calls=found.calls,
            left_out=(*each.left_out, *clues.left_out),
        )
        for each in kept
    ]
