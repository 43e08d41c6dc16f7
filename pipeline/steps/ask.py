"""Step `ask`: write cross-modal questions and answers about a clip from its media and transcript.

The model gets the frames, the sound and the fenced subtitles. Its answer is parsed where its meaning is unambiguous,
and departures from the form are noted. An answer that cannot be parsed is requested once more, with the fault in the
prompt. Rules then remove questions that would train a bad habit. A clip in which nothing is said has a prompt of its
own, about voices, music and noises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from manifests.records import ClipMedia, Drop, ModelCall, Question, Screening, Transcript
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.asked_twice import RETRY, retry_request
from pipeline.annotation.question_formats import NormalizedQuestions, normalize_questions
from pipeline.annotation.text_rules import (
    KINDS,
    LETTERS,
    SOUND_KINDS,
    QuestionDraft,
    answer_fault,
    parse_questions,
    question_flaws,
)
from pipeline.errors import BadMedia
from pipeline.prompts import prompt
from pipeline.steps.clip_options import add_clip_options, distractor_facts

if TYPE_CHECKING:
    from ola.prompt import Request


@dataclass(frozen=True)
class AskInput:
    """A screened clip with its media and transcript."""

    screening: Screening
    footage: ClipMedia
    transcript: Transcript


class AskSettings(step.Settings):
    """Which questions are written, and about which clips."""

    questions: int = Field(default=3, ge=1, le=9)
    """Questions for each clip."""
    multiple_choice: bool = False
    """Ask for four options, and a letter as the answer."""
    least_complete: float = Field(default=0.0, ge=0, le=1)
    """Lowest probability of `screen` that the transcript is complete; clips below it are dropped."""
    least_informative: float = Field(default=0.5, ge=0, le=1)
    """Lowest probability of `screen` that the transcript is informative; clips below it are dropped."""
    longest: int = Field(default=768, gt=0)
    """Most tokens of the model's answer, which holds all questions."""
    strict: bool = False
    """Ask again for questions that depart from the prompt's form, even if they can be read."""
    distractors: Literal["model", "clip"] = "model"
    """Wrong options of a multiple choice: written by the `model` with the question, or drawn from what is seen or heard
    in the `clip` at another time, of the kind and length of the answer."""
    least_present: float = Field(default=0.5, ge=0, le=1)
    """Lowest probability that a distractor from the clip is seen or heard in it; 0: the model is not asked."""
    most_agreement: float = Field(default=0.5, ge=0, le=1)
    """Distractors from the clip with this or a higher probability of answering the question, too, are not used."""

    @property
    def options_with_questions(self) -> bool:
        """Whether the model writes the options together with the questions."""
        return self.multiple_choice and not self.draws_distractors

    @property
    def draws_distractors(self) -> bool:
        """Whether the wrong options are drawn from the clip."""
        return self.multiple_choice and self.distractors == "clip"


class Ask(ModelStep[AskInput, Question]):
    """Write questions about a clip."""

    name, takes, gives = "ask", AskInput, Question
    version = 2  # 1 read only the prompt's own form, and refusals in two languages
    settings_type = AskSettings
    settings: AskSettings
    prompts = ("ask", "ask_open", "ask_choice", "ask_again")
    later_prompts = ("ask_sound",)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step; without distractors from the clip those of a version that knew none."""
        return distractor_facts(super().facts(), self.settings.draws_distractors)

    def run(self, batch: Sequence[AskInput]) -> list[list[Question] | Drop | BadMedia]:
        """Return the questions of each clip; a drop by a score or where no question passes the rules."""
        answers = self._write_questions(batch)
        return add_clip_options(self, batch, answers) if self.settings.draws_distractors else answers

    def _write_questions(self, batch: Sequence[AskInput]) -> list[list[Question] | Drop | BadMedia]:
        drops = {entry.screening.id: self._check_scores(entry.screening) for entry in batch}
        requests = {each.screening.id: self._make_request(each) for each in batch if drops[each.screening.id] is None}
        first = self.ask_model(requests)
        kinds = {entry.screening.id: question_kinds(entry.transcript) for entry in batch}
        unread = {
            name: fault for name, call in first.items() if isinstance(fault := self._parse(call, kinds[name]), str)
        }
        second = self.ask_model(
            {
                f"{name}-{RETRY}": retry_request(requests[name], fault, first[name].answer)
                for name, fault in unread.items()
            }
        )
        calls = {name: (call, second.get(f"{name}-{RETRY}")) for name, call in first.items()}
        return [drops[each.screening.id] or self._make_questions(each, *calls[each.screening.id]) for each in batch]

    def _check_scores(self, screening: Screening) -> Drop | None:
        for score in ("complete", "informative"):
            value, least = getattr(screening, score), getattr(self.settings, f"least_{score}")
            if value is not None and value < least:
                return Drop(f"not {score} enough", f"{value:.3f}; ask.least_{score} is {least}")
        return None

    def _make_request(self, entry: AskInput) -> Request:
        from ola.prompt import Request

        count, clip = str(self.settings.questions), self.load(entry.footage)
        form = fill_prompt("ask_choice" if self.settings.options_with_questions else "ask_open", count=count)
        subtitles = fence_text("subtitles", entry.transcript.text)
        name, texts = ("ask", {"subtitles": subtitles}) if entry.transcript.words else ("ask_sound", {})
        text = fill_prompt(name, count=count, form=form, **texts)
        sounds = () if clip.sound is None else (clip.sound,)
        return Request(text, video=clip.video, sounds=sounds, max_new_tokens=self.settings.longest)

    def _parse(self, call: ModelCall, kinds: Sequence[str]) -> list[QuestionDraft] | str:
        """Return the parsed questions, or the fault of the answer."""
        if fault := answer_fault(call.answer, call.finish):
            return fault
        count, choice = self.settings.questions, self.settings.options_with_questions
        try:
            return parse_questions(self._normalize(call, kinds).text, count, choice, kinds)
        except ValueError as error:
            return f"not in the form: {error}"

    def _normalize(self, call: ModelCall, kinds: Sequence[str]) -> NormalizedQuestions:
        if self.settings.strict:
            return NormalizedQuestions([call.answer])
        return normalize_questions(call.answer, kinds, LETTERS if self.settings.options_with_questions else "")

    def _make_questions(
        self, entry: AskInput, first: ModelCall, second: ModelCall | None
    ) -> list[Question] | Drop | BadMedia:
        call, kinds = second or first, question_kinds(entry.transcript)
        found = self._parse(call, kinds)
        if isinstance(found, str):
            raw = (f"{self._parse(each, kinds)}\n{each.answer}" for each in (first, second) if each is not None)
            return BadMedia(f"no questions: {found.partition(':')[0]}, twice", "\n\n".join(raw))
        fault = question_flaws(found, entry.transcript.text or prompt("ask_sound"))
        left_out = tuple(f"Q{number}: {flaw}" for number, flaw in enumerate(fault, start=1) if flaw)
        if len(left_out) == len(found):
            return Drop(f"no question kept: {reason_counts([flaw for flaw in fault if flaw])}", call.answer)
        return [
            replace(
                make_question(entry, number, draft, call, left_out, self._normalize(call, kinds).departures),
                made_by=self.made_by,
            )
            for number, (draft, flaw) in enumerate(zip(found, fault, strict=True))
            if flaw is None
        ]


def question_kinds(transcript: Transcript) -> tuple[str, ...]:
    """Return the kinds of questions about a clip with this transcript."""
    return KINDS if transcript.words else SOUND_KINDS


def reason_counts(reasons: Sequence[str]) -> str:
    """Return `2 x empty, 1 x refused`: the same text for the same reasons in any order."""
    counts: Mapping[str, int] = Counter(reasons)
    return ", ".join(
        f"{counts[reason]} x {reason}" for reason in sorted(counts, key=lambda each: (-counts[each], each))
    )


def make_question(
    entry: AskInput,
    number: int,
    draft: QuestionDraft,
    call: ModelCall,
    left_out: tuple[str, ...],
    departures: tuple[str, ...],
) -> Question:
    """Make the record of a draft."""
    clip = entry.screening.clip
    return Question(
        id=f"{clip}-question-{number}",
        clip=clip,
        footage=entry.footage.id,
        transcript=entry.transcript.id,
        number=number,
        kind=draft.kind,
        question=draft.question,
        answer=draft.letter or draft.answer,
        options=draft.options,
        asked=call,
        left_out=left_out,
        departures=departures,
    )
