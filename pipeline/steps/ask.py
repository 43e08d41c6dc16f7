"""Step `ask`: write cross-modal questions and answers about a clip from its media and transcript.

The model gets the frames, the sound and the fenced subtitles. Its answer is parsed where its meaning is unambiguous,
and departures from the form are noted. An answer that cannot be parsed is requested once more, with the fault in the
prompt. Rules then remove questions that would train a bad habit. A clip in which nothing is said has a prompt of its
own, about voices, music and noises. With `ask.style: evidence`, clues are collected first (`pipeline.steps.evidence`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from manifests.records import ClipMedia, Drop, ModelCall, Question, Screening, Transcript
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.asked_twice import ParsedAnswer, ask_twice
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
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.tagger import model_facts, open_tagger
from pipeline.prompts import prompt
from pipeline.steps import evidence
from pipeline.steps.clip_options import add_clip_options, distractor_facts

if TYPE_CHECKING:
    from ola.prompt import Request

Departures = tuple[str, ...]


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
    style: Literal["direct", "evidence"] = "direct"
    """`direct`: one call writes the questions from all media. `evidence`: notes of the picture and of the sound first,
    then questions that rest on one clue of each, with the times of both."""
    sound_events: bool = False
    """With `style: evidence`, sounds that the model of step `hear` finds are clues, with their times."""
    distractors: Literal["model", "clip"] = "model"
    """Wrong options of a multiple choice: written by the `model` with the question, or drawn from what is seen or heard
    in the `clip` at another time, of the kind and length of the answer."""
    least_present: float = Field(default=0.5, ge=0, le=1)
    """Lowest probability that a distractor from the clip is seen or heard in it; 0: the model is not asked."""
    most_agreement: float = Field(default=0.5, ge=0, le=1)
    """Distractors from the clip with this or a higher probability of answering the question, too, are not used."""

    @model_validator(mode="after")
    def _check_sound_events(self) -> AskSettings:
        if self.sound_events and self.style != "evidence":
            raise ValueError("sound_events: expected style: evidence, whose clues they are; set ask.style=evidence")
        return self

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
    hearing = HearSettings()  # of the configuration, for `sound_events`
    hearing_model = ""  # that of the step's key

    def open(self) -> None:
        """Load the annotator, and the model of sound events if it is asked for. Raises ConfigError."""
        super().open()
        if self.settings.sound_events:
            self.tagger = open_tagger(self.hearing, self.hearing_model)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step; in the direct style those of a version that knew no other."""
        facts = distractor_facts(super().facts(), self.settings.draws_distractors)
        if self.settings.style == "direct":
            del facts["settings"]["style"], facts["settings"]["sound_events"]
            return facts
        texts = {name: prompt(name) for name in evidence.PROMPTS}
        facts |= {"prompts": facts["prompts"] | texts, "procedure": evidence.PROCEDURE}
        if self.settings.sound_events:
            self.hearing_model = model_facts(self.hearing)
            scores = self.hearing.model_dump(mode="json", exclude={"weights"})
            facts |= {"hearing": {**scores, "model": self.hearing_model}}
        return facts

    def run(self, batch: Sequence[AskInput]) -> list[list[Question] | Drop | BadMedia]:
        """Return the questions of each clip; a drop by a score or where no question passes the rules."""
        answers = self._write_questions(batch)
        return add_clip_options(self, batch, answers) if self.settings.draws_distractors else answers

    def _write_questions(self, batch: Sequence[AskInput]) -> list[list[Question] | Drop | BadMedia]:
        if self.settings.style == "evidence":
            return evidence.ask_from_evidence(self, batch)
        drops = {entry.screening.id: self.check_scores(entry.screening) for entry in batch}
        requests = {each.screening.id: self._make_request(each) for each in batch if drops[each.screening.id] is None}
        kinds = {entry.screening.id: self.kinds(entry) for entry in batch}
        answers = ask_twice(self, requests, lambda name, call: self._parse(call, kinds[name]))
        return [drops[each.screening.id] or self._make_questions(each, answers[each.screening.id]) for each in batch]

    def check_scores(self, screening: Screening) -> Drop | None:
        """Return the drop of a clip whose transcript has a low score, or None."""
        for score in ("complete", "informative"):
            value, least = getattr(screening, score), getattr(self.settings, f"least_{score}")
            if value is not None and value < least:
                return Drop(f"not {score} enough", f"{value:.3f}; ask.least_{score} is {least}")
        return None

    def kinds(self, entry: AskInput) -> tuple[str, ...]:
        """Return the kinds of questions about a clip."""
        return question_kinds(entry.transcript)

    def _make_request(self, entry: AskInput) -> Request:
        from ola.prompt import Request

        count, clip = str(self.settings.questions), self.load(entry.footage)
        form = fill_prompt("ask_choice" if self.settings.options_with_questions else "ask_open", count=count)
        subtitles = fence_text("subtitles", entry.transcript.text)
        name, texts = ("ask", {"subtitles": subtitles}) if entry.transcript.words else ("ask_sound", {})
        text = fill_prompt(name, count=count, form=form, **texts)
        sounds = () if clip.sound is None else (clip.sound,)
        return Request(text, video=clip.video, sounds=sounds, max_new_tokens=self.settings.longest)

    def _parse(self, call: ModelCall, kinds: Sequence[str]) -> tuple[list[QuestionDraft], Departures] | str:
        """Return the parsed questions and the departures of their form, or the fault of the answer."""
        if fault := answer_fault(call.answer, call.finish):
            return fault
        try:
            return self.parse_form(call.answer, kinds)
        except ValueError as error:
            return f"not in the form: {error}"

    def parse_form(self, text: str, kinds: Sequence[str]) -> tuple[list[QuestionDraft], Departures]:
        """Return the questions in a text and the departures of their form. Raises ValueError with the fault."""
        count, choice = self.settings.questions, self.settings.options_with_questions
        normalized = NormalizedQuestions([text])
        if not self.settings.strict:
            normalized = normalize_questions(text, kinds, LETTERS if choice else "")
        return parse_questions(normalized.text, count, choice, kinds), normalized.departures

    def _make_questions(
        self, entry: AskInput, answer: ParsedAnswer[tuple[list[QuestionDraft], Departures]]
    ) -> list[Question] | Drop | BadMedia:
        if answer.value is None:
            return answer.failure("questions")
        drafts, departures = answer.value
        flaws = question_flaws(drafts, entry.transcript.text or prompt("ask_sound"))
        return self.keep_questions(entry, drafts, flaws, answer.call, departures)

    def keep_questions(
        self,
        entry: AskInput,
        drafts: Sequence[QuestionDraft],
        flaws: Sequence[str | None],
        call: ModelCall,
        departures: Departures,
    ) -> list[Question] | Drop:
        """Return the records of the questions without a flaw; a drop with the reasons counted if there are none."""
        left_out = tuple(f"Q{number}: {flaw}" for number, flaw in enumerate(flaws, start=1) if flaw)
        if len(left_out) == len(drafts):
            return Drop(f"no question kept: {reason_counts([flaw for flaw in flaws if flaw])}", call.answer)
        return [
            Question(
                id=f"{entry.screening.clip}-question-{number}",
                clip=entry.screening.clip,
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
                made_by=self.made_by,
            )
            for number, (draft, flaw) in enumerate(zip(drafts, flaws, strict=True))
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
