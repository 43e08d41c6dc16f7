"""Step `verify`: measure how well a question is answered from frames and sound, from each alone, and from neither.

What a question needs follows in SQL from the scores (`NEEDS`), so that thresholds change without the model. A clip
without sound is answered twice, with and without its frames: `both` is then `video`, and `audio` is `text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from manifests.records import Footage, ModelCall, Question, Verification, ViewAnswer
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.text_rules import format_question, option_text
from stages.text_metrics import exact, f1, significant_words

if TYPE_CHECKING:
    from ola.prompt import Request

VIEWS = ("both", "video", "audio", "text")

# The least that suffices: what words alone, or frames alone, answer does not need the sound, whatever else answers it.
NEEDS = """CASE
    WHEN {of}text.agreement IS NULL THEN NULL
    WHEN {of}text.agreement >= {threshold} THEN 'text'
    WHEN {of}video.agreement >= {threshold} THEN 'video'
    WHEN {of}audio.agreement >= {threshold} THEN 'audio'
    WHEN {of}"both".agreement >= {threshold} THEN 'both'
    ELSE 'none-agrees'
END"""
"""SQL for what a question needs, over the columns of `verify`. threshold: of agreement, 0..1; of: `verify.`, or empty
where no other table has such columns. NULL where the question could not be verified."""


@dataclass(frozen=True)
class VerifyInput:
    """A question and the footage of its clip."""

    question: Question
    footage: Footage


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
    # Ten clips of three questions: the embeddings of their media fit into the 200,000 tokens that Ola keeps.
    resources = step.Resources(batch=30, seconds=1800, memory_gb=64)

    def run(self, batch: Sequence[VerifyInput]) -> list[list[Verification]]:
        """One Verdict per question."""
        media = {doubt.footage.id: doubt.footage for doubt in batch}
        views = {name: self._views(footage) for name, footage in media.items()}
        requests = [self._requests(doubt.question, views[doubt.footage.id]) for doubt in batch]
        said = self.ask({name: request for some in requests for name, request in some.items()})
        answers = {name: asked.answer.strip() for name, asked in said.items()}
        agreement = self._agreement(batch, answers)
        return [[self._verdict(doubt, said, agreement)] for doubt in batch]

    def _views(self, footage: Footage) -> dict[str, dict[str, Any]]:
        """The media of each view; made once a clip, since what is the same thing is encoded once."""
        frames, sound = self.pictures(footage), self.sound(footage)
        if sound is None:
            return {"video": {"video": frames}, "text": {}}
        seen, heard = {"video": frames}, {"sounds": (sound,)}
        return {"both": seen | heard, "video": seen, "audio": heard, "text": {}}

    def _requests(self, question: Question, views: dict[str, dict[str, Any]]) -> dict[str, Request]:
        from ola.prompt import Request

        text = fill_prompt("verify_answer", question=format_question(question.question, question.options))
        return {
            f"{question.id}-{view}": Request(text, max_new_tokens=self.settings.longest, **media)
            for view, media in views.items()
        }

    def _agreement(self, batch: Sequence[VerifyInput], answers: dict[str, str]) -> dict[str, float]:
        """By the answers' names: how probable it is that they mean the same as the reference. Silence means nothing."""
        from ola.prompt import Request

        questions = {name: doubt.question for doubt in batch for name in answer_names(doubt).values()}
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
        return dict.fromkeys(questions, 0.0) | self.yes(requests)

    def _verdict(self, doubt: VerifyInput, said: dict[str, ModelCall], agreement: dict[str, float]) -> Verification:
        question, reference, names = (
            doubt.question,
            answer_text(doubt.question.answer, doubt.question),
            answer_names(doubt),
        )
        attempts = {}
        for view, name in names.items():
            answer = said[name].answer.strip()
            text = answer_text(answer, question)
            attempts[view] = ViewAnswer(
                answer=answer, agreement=agreement[name], exact=exact(text, reference), f1=f1(text, reference)
            )
        calls = [said[name] for name in dict.fromkeys(names.values())]
        return Verification(
            id=question.id,
            clip=question.clip,
            question=question.id,
            prompt_tokens=sum(call.prompt_tokens for call in calls),
            answer_tokens=sum(call.answer_tokens for call in calls),
            read_tokens=sum(call.read_tokens for call in calls),
            **attempts,
        )


def answer_names(doubt: VerifyInput) -> dict[str, str]:
    """The name of the answer that each view takes."""
    silent = {"both": "video", "audio": "text"} if doubt.footage.sound is None else {}
    return {view: f"{doubt.question.id}-{silent.get(view, view)}" for view in VIEWS}


def answer_text(answer: str, question: Question) -> str:
    """An answer in words: of a multiple choice, what the letter stands for."""
    return option_text(answer, question.options) if question.options else answer
