"""Step `verify`: measure how well a question is answered from frames and sound, from each alone, and from neither.

What a question needs follows in SQL from the scores (`NEEDS`), so that thresholds change without a model run. For a
clip without sound there are two answers, with and without its frames: `both` is then `video`, and `audio` is `text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from manifests.records import ClipMedia, ModelCall, Question, Verification, ViewAnswer
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.text_rules import format_question, option_text
from stages.text_metrics import exact, f1, significant_words

if TYPE_CHECKING:
    from ola.prompt import Request

VIEWS = ("both", "video", "audio", "text")

# The least that suffices: a question answered from text or frames alone does not need the sound.
NEEDS = """CASE
    WHEN {of}text.agreement IS NULL THEN NULL
    WHEN {of}text.agreement >= {threshold} THEN 'text'
    WHEN {of}video.agreement >= {threshold} THEN 'video'
    WHEN {of}audio.agreement >= {threshold} THEN 'audio'
    WHEN {of}"both".agreement >= {threshold} THEN 'both'
    ELSE 'none-agrees'
END"""
"""SQL for what a question needs, over the columns of `verify`; NULL where the question was not verified.

threshold: of agreement, 0..1. of: prefix of the columns, `verify.` or empty."""


@dataclass(frozen=True)
class VerifyInput:
    """A question and the media of its clip."""

    question: Question
    footage: ClipMedia


class VerifySettings(step.Settings):
    """How questions are answered for verification."""

    longest: int = Field(default=64, gt=0)
    """Most tokens of an answer."""


class Verify(ModelStep[VerifyInput, Verification]):
    """Answer a question under four views, and compare the answers with its own."""

    name, takes, gives = "verify", VerifyInput, Verification
    version = 2  # 1 took `A` at the beginning of an answer for a letter, and -5 for 5
    settings_type = VerifySettings
    settings: VerifySettings
    prompts = ("verify_answer", "verify_agree")
    # Ten clips of three questions: the embeddings of their media fit into Ola's cache of 200,000 tokens.
    resources = step.Resources(batch=30, seconds=1800, memory_gb=64)

    def run(self, batch: Sequence[VerifyInput]) -> list[list[Verification]]:
        """Return one Verification per question."""
        media = {entry.footage.id: entry.footage for entry in batch}
        views = {name: self._views(footage) for name, footage in media.items()}
        requests = [self._requests(entry.question, views[entry.footage.id]) for entry in batch]
        calls = self.ask_model({name: request for of_question in requests for name, request in of_question.items()})
        answers = {name: call.answer.strip() for name, call in calls.items()}
        agreement = self._score_agreement(batch, answers)
        return [[self._make_verification(entry, calls, agreement)] for entry in batch]

    def _views(self, footage: ClipMedia) -> dict[str, dict[str, Any]]:
        """Return the media of each view, once a clip: shared objects are encoded once."""
        clip = self.load(footage)
        frames_only, sound_only = {"video": clip.video}, {"sounds": (clip.sound,)}
        if clip.sound is None:
            return {"video": frames_only, "text": {}}
        return {"both": frames_only | sound_only, "video": frames_only, "audio": sound_only, "text": {}}

    def _requests(self, question: Question, views: dict[str, dict[str, Any]]) -> dict[str, Request]:
        from ola.prompt import Request

        text = fill_prompt("verify_answer", question=format_question(question.question, question.options))
        return {
            f"{question.id}-{view}": Request(text, max_new_tokens=self.settings.longest, **media)
            for view, media in views.items()
        }

    def _score_agreement(self, batch: Sequence[VerifyInput], answers: dict[str, str]) -> dict[str, float]:
        """Return by answer the probability that it means the same as the reference; 0 for empty answers."""
        from ola.prompt import Request

        questions = {name: entry.question for entry in batch for name in answer_names(entry).values()}
        requests = {
            name: Request(
                fill_prompt(
                    "verify_agree",
                    question=fence_text("question", format_question(questions[name].question, questions[name].options)),
                    reference=fence_text("right answer", answer_text(questions[name].answer, questions[name])),
                    answer=fence_text("given answer", answer_text(answers[name], questions[name])),
                )
            )
            for name in questions
            if significant_words(answers[name])
        }
        return dict.fromkeys(questions, 0.0) | self.yes_probabilities(requests)

    def _make_verification(
        self, entry: VerifyInput, calls: dict[str, ModelCall], agreement: dict[str, float]
    ) -> Verification:
        question, names = entry.question, answer_names(entry)
        reference = answer_text(question.answer, question)
        view_answers = {}
        for view, name in names.items():
            answer = calls[name].answer.strip()
            text = answer_text(answer, question)
            view_answers[view] = ViewAnswer(
                answer=answer, agreement=agreement[name], exact=exact(text, reference), f1=f1(text, reference)
            )
        unique_calls = [calls[name] for name in dict.fromkeys(names.values())]
        return Verification(
            id=question.id,
            clip=question.clip,
            question=question.id,
            prompt_tokens=sum(call.prompt_tokens for call in unique_calls),
            answer_tokens=sum(call.answer_tokens for call in unique_calls),
            read_tokens=sum(call.read_tokens for call in unique_calls),
            made_by=self.made_by,
            **view_answers,
        )


def answer_names(entry: VerifyInput) -> dict[str, str]:
    """Return the name of the answer for each view."""
    silent = {"both": "video", "audio": "text"} if entry.footage.sound is None else {}
    return {view: f"{entry.question.id}-{silent.get(view, view)}" for view in VIEWS}


def answer_text(answer: str, question: Question) -> str:
    """Return the answer's text; for multiple choice, the text of the chosen option."""
    return option_text(answer, question.options) if question.options else answer
