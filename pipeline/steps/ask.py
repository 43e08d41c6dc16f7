"""Step `ask`: write cross-modal questions and answers about a clip from its media and transcript.

The model sees the frames, hears the sound and reads the subtitles, fenced. What it writes is read where its meaning is
plain, and how it leaves the form is noted; what cannot be read is asked for once more, with what was wrong. Rules then
leave out questions that train a bad habit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import Field

from manifests.records import Drop, Footage, ModelCall, Question, Screening, Transcript
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.question_formats import NormalizedQuestions, normalize_questions
from pipeline.annotation.text_rules import KINDS, LETTERS, QuestionDraft, answer_fault, parse_questions, question_flaws
from pipeline.errors import BadMedia

if TYPE_CHECKING:
    from ola.prompt import Request

AGAIN = "again"


@dataclass(frozen=True)
class AskInput:
    """A clip that was screened, with what is seen and what is said in it."""

    screening: Screening
    footage: Footage
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


class Ask(ModelStep[AskInput, Question]):
    """Write questions about a clip."""

    name, takes, gives = "ask", AskInput, Question
    version = 2  # 1 read only the prompt's own form, and refusals in two languages
    settings_type = AskSettings
    settings: AskSettings
    prompts = ("ask", "ask_open", "ask_choice", "ask_again")

    def run(self, batch: Sequence[AskInput]) -> list[list[Question] | Drop | BadMedia]:
        """The questions of each clip; a drop by a score or where no question passes the rules."""
        drops = {asking.screening.id: self._drop(asking.screening) for asking in batch}
        requests = {each.screening.id: self._request(each) for each in batch if drops[each.screening.id] is None}
        first = self.ask(requests)
        unread = {name: wrong for name, asked in first.items() if isinstance(wrong := self._read(asked), str)}
        second = self.ask(
            {
                f"{name}-{AGAIN}": retry_request(requests[name], wrong, first[name].answer)
                for name, wrong in unread.items()
            }
        )
        said = {name: (asked, second.get(f"{name}-{AGAIN}")) for name, asked in first.items()}
        return [drops[each.screening.id] or self._answer(each, *said[each.screening.id]) for each in batch]

    def _drop(self, screening: Screening) -> Drop | None:
        for score in ("complete", "informative"):
            value, least = getattr(screening, score), getattr(self.settings, f"least_{score}")
            if value < least:
                return Drop(f"not {score} enough", f"{value:.3f}; ask.least_{score} is {least}")
        return None

    def _request(self, asking: AskInput) -> Request:
        from ola.prompt import Request

        count, sound = str(self.settings.questions), self.sound(asking.footage)
        form = fill_prompt("ask_choice" if self.settings.multiple_choice else "ask_open", count=count)
        text = fill_prompt("ask", count=count, form=form, subtitles=fence_text("subtitles", asking.transcript.text))
        sounds = () if sound is None else (sound,)
        return Request(text, video=self.pictures(asking.footage), sounds=sounds, max_new_tokens=self.settings.longest)

    def _read(self, asked: ModelCall) -> list[QuestionDraft] | str:
        """What was written, or what is wrong with it."""
        if wrong := answer_fault(asked.answer, asked.finish):
            return wrong
        try:
            return parse_questions(self._form(asked).text, self.settings.questions, self.settings.multiple_choice)
        except ValueError as error:
            return f"not in the form: {error}"

    def _form(self, asked: ModelCall) -> NormalizedQuestions:
        if self.settings.strict:
            return NormalizedQuestions([asked.answer])
        return normalize_questions(asked.answer, KINDS, LETTERS if self.settings.multiple_choice else "")

    def _answer(self, asking: AskInput, first: ModelCall, second: ModelCall | None) -> list[Question] | Drop | BadMedia:
        asked = second or first
        found = self._read(asked)
        if isinstance(found, str):
            raw = (f"{self._read(each)}\n{each.answer}" for each in (first, second) if each is not None)
            return BadMedia(f"no questions: {found.partition(':')[0]}, twice", "\n\n".join(raw))
        wrong = question_flaws(found, asking.transcript.text)
        left_out = tuple(f"Q{number}: {flaw}" for number, flaw in enumerate(wrong, start=1) if flaw)
        if len(left_out) == len(found):
            return Drop(f"no question kept: {reason_counts([flaw for flaw in wrong if flaw])}", asked.answer)
        return [
            question_of(asking, number, draft, asked, left_out, self._form(asked).departures)
            for number, (draft, flaw) in enumerate(zip(found, wrong, strict=True))
            if flaw is None
        ]


def retry_request(request: Request, wrong: str, answer: str) -> Request:
    """The same request, with what was wrong with its answer."""
    return replace(
        request, text=f"{request.text}\n\n{fill_prompt('ask_again', wrong=wrong, answer=fence_text('answer', answer))}"
    )


def reason_counts(reasons: Sequence[str]) -> str:
    """`2 x empty, 1 x refused`: the same reasons give the same text in whatever order they came."""
    counts: Mapping[str, int] = Counter(reasons)
    return ", ".join(
        f"{counts[reason]} x {reason}" for reason in sorted(counts, key=lambda each: (-counts[each], each))
    )


def question_of(
    asking: AskInput,
    number: int,
    draft: QuestionDraft,
    asked: ModelCall,
    left_out: tuple[str, ...],
    departures: tuple[str, ...],
) -> Question:
    """The record of a draft."""
    clip = asking.screening.clip
    return Question(
        id=f"{clip}-question-{number}",
        clip=clip,
        footage=asking.footage.id,
        transcript=asking.transcript.id,
        number=number,
        kind=draft.kind,
        question=draft.question,
        answer=draft.letter or draft.answer,
        options=draft.options,
        asked=asked,
        left_out=left_out,
        departures=departures,
    )
