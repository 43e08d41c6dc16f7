"""Step `verify`: measure how well a question is answered from frames and sound, from each alone, and from neither.

What a question needs follows in SQL from the scores (`pipeline.steps.needs`), so that thresholds change without a model
run. For a clip without sound there are two answers, with and without its frames: `both` is then `video`, and `audio` is
`text`.

Questions that name the spans of the clip that they rest on are also answered from these spans and from the rest
(`pipeline.steps.span_views`), which changes nothing of what they need.

With `verify.witnesses`, other models answer as well, and more views may be asked for (`pipeline.steps.witness_views`).
A question then needs both if no witness answers it from less, and at least one witness answers it from both.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from manifests.records import (
    Clip,
    ClipMedia,
    ModelCall,
    Question,
    Transcript,
    Verification,
    Video,
    ViewAnswer,
)
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.text_rules import format_question, option_text
from pipeline.annotation.witnesses import ANNOTATOR, check_devices, check_witnesses, order_witnesses
from pipeline.inspection.packages import FAMILIES
from pipeline.prompts import prompt
from pipeline.steps.clip_contents import add_parts, load_contents, open_loaders, open_reader
from pipeline.steps.examination import Examined, examine
from pipeline.steps.span_views import SPAN_VIEWS, span_name, span_requests
from pipeline.steps.witness_views import WORDS, find_veto
from stages.text_metrics import exact, f1, significant_words

if TYPE_CHECKING:
    from ola.prompt import Request

VIEWS = ("both", "video", "audio", "text")
SAMPLING = ("samples", "temperature")  # settings that are not facts of runs without samples, so that old keys stay
PROCEDURE = 1  # version of how witnesses are asked
MoreViews = Literal["frame", "title", "transcript", "words", "swap"]


@dataclass(frozen=True)
class VerifyInput:
    """A question, the media of its clip, and what else is known of the clip."""

    question: Question
    footage: ClipMedia
    transcript: Transcript
    clip: Clip
    video: Video


class VerifySettings(step.Settings):
    """How questions are answered for verification."""

    longest: int = Field(default=64, gt=0)
    """Most tokens of an answer."""
    witnesses: tuple[str, ...] = ()
    """Models that answer beside the annotator, the cheapest first: folders, `nano`, `module:factory`, or `URL#model` of
    a server with the API of OpenAI; `annotator` names the annotator's own place, else it is last."""
    witness_devices: dict[str, str] = Field(default_factory=dict)
    """Devices of witnesses that are folders or `nano`, by the last part of their names (`{ola-7b: "cuda:1"}`); others
    have the annotator's."""
    more_views: tuple[MoreViews, ...] = ()
    """Views of witnesses beside `text`, `video`, `audio` and `both`: one `frame`, the `title` and description, the
    `transcript` or the `words` in the picture alone (which need the extra `inspect-text`), and all frames with the
    sound of another clip (`swap`)."""
    orders: Literal[1, 3] = 3
    """Orders of the options in which witnesses get a multiple choice; with 3, all must be answered right."""
    samples: int = Field(default=1, ge=1, le=99)
    """Answers of witnesses to a view and an order of options; more than one are sampled, and most must be right."""
    temperature: float = Field(default=0.7, gt=0)
    """Temperature of answers where `samples` is more than 1; a single one is the likeliest."""
    agreement: float = Field(default=0.5, gt=0, le=1)
    """Probability from which on an answer of a witness counts as right, so that no further views are asked for."""
    all_views: bool = False
    """Ask every witness for every view, also after a right answer from too little."""

    @field_validator("witnesses")
    @classmethod
    def _check_witnesses(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_witnesses(names)
        return names

    @model_validator(mode="after")
    def _check_witnesses_settings(self) -> Self:
        if self.samples > 1 and not self.witnesses:
            raise ValueError(f"samples: expected 1 without verify.witnesses, got {self.samples}; name `annotator`")
        check_devices(self.witnesses, self.witness_devices)
        return self


class Verify(ModelStep[VerifyInput, Verification]):
    """Answer a question under several views, and compare the answers with its own."""

    name, takes, gives = "verify", VerifyInput, Verification
    version = 2  # 1 took `A` at the beginning of an answer for a letter, and -5 for 5
    settings_type = VerifySettings
    settings: VerifySettings
    prompts = ("verify_answer", "verify_agree")
    # Ten clips of three questions: the embeddings of their media fit into Ola's cache of 200,000 tokens.
    resources = step.Resources(batch=30, seconds=1800, memory_gb=64)

    def open(self) -> None:
        """Load the annotator and the witnesses. Raises ConfigError."""
        super().open()
        if self.settings.witnesses:
            ordered = order_witnesses(self.settings.witnesses, self.settings.witness_devices)
            self.witnesses = [(each, each.open(self.annotator, self.model)) for each in ordered]
            self.loaders = open_loaders(self.root, self.witnesses, self.load)
            self.text_reader = open_reader() if WORDS in self.settings.more_views else None

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step; without witnesses those of a version that knew none."""
        facts = super().facts()
        if not self.settings.witnesses:
            return {**facts, "settings": {"longest": self.settings.longest}}
        if self.settings.samples == 1:
            facts["settings"] = {name: facts["settings"][name] for name in facts["settings"] if name not in SAMPLING}
        ordered = order_witnesses(self.settings.witnesses, self.settings.witness_devices)
        facts["settings"]["witnesses"] = [each.facts() for each in ordered]
        del facts["settings"]["witness_devices"]  # facts of the witnesses
        texts = {name: prompt(name) for name in ("verify_transcript", "verify_title")}
        facts |= {"witness_prompts": texts, "procedure": PROCEDURE}
        if WORDS in self.settings.more_views:
            facts |= {"words_prompt": prompt("verify_words"), "text_reader": FAMILIES["text"].version}
        return facts

    def run(self, batch: Sequence[VerifyInput]) -> list[list[Verification]]:
        """Return one Verification per question."""
        return [[each] for each in (self._examine(batch) if self.settings.witnesses else self._verify(batch))]

    def _examine(self, batch: Sequence[VerifyInput]) -> list[Verification]:
        views = self.settings.more_views
        contents = {
            entry.footage.id: load_contents(entry, self.loaders, self.load, views, self.text_reader) for entry in batch
        }
        examined = [
            Examined(
                entry.question,
                answer_text(entry.question.answer, entry.question),
                add_parts(entry, contents[entry.footage.id], self.loaders),
            )
            for entry in batch
        ]
        examine(self, self.witnesses, examined)
        return [self._witnessed(each) for each in examined]

    def _witnessed(self, examined: Examined) -> Verification:
        question, veto = examined.question, find_veto(examined.answers, self.settings.agreement)
        own = {each.view: each for each in examined.answers if each.witness == ANNOTATOR}
        view_answers: dict[str, Any] = dict.fromkeys(VIEWS) | {
            view: compare_answer(each.answers[0], each.agreement, question)
            for view, each in own.items()
            if view in (*VIEWS, *SPAN_VIEWS)
        }
        return Verification(
            id=question.id,
            clip=question.clip,
            question=question.id,
            made_by=self.made_by,
            **count_tokens(examined.calls),
            **view_answers,
            witnesses=tuple(examined.answers),
            veto_witness=veto.witness if veto else "",
            veto_view=veto.view if veto else "",
        )

    def _verify(self, batch: Sequence[VerifyInput]) -> list[Verification]:
        media = {entry.footage.id: entry.footage for entry in batch}
        views = {name: self._views(footage) for name, footage in media.items()}
        requests = [self._requests(entry.question, views[entry.footage.id]) for entry in batch]
        calls = self.ask_model({name: request for of_question in requests for name, request in of_question.items()})
        calls |= self.ask_model(span_requests(self, batch))
        answers = {name: call.answer.strip() for name, call in calls.items()}
        agreement = self._score_agreement(batch, answers)
        return [self._make_verification(entry, calls, agreement) for entry in batch]

    def _views(self, footage: ClipMedia) -> dict[str, dict[str, Any]]:
        """Return the media of each view, once a clip: shared objects are encoded once."""
        clip = self.load(footage)
        frames_only, sound_only = {"video": clip.video}, {"sounds": (clip.sound,)}
        if clip.sound is None:
            return {"video": frames_only, "text": {}}
        return {"both": frames_only | sound_only, "video": frames_only, "audio": sound_only, "text": {}}

    def _requests(self, question: Question, views: dict[str, dict[str, Any]]) -> dict[str, Request]:
        return {f"{question.id}-{view}": self.make_request(question, media) for view, media in views.items()}

    def make_request(self, question: Question, media: dict[str, Any]) -> Request:
        """Return the request for an answer to a question from some media."""
        from ola.prompt import Request

        text = fill_prompt("verify_answer", question=format_question(question.question, question.options))
        return Request(text, max_new_tokens=self.settings.longest, **media)

    def _score_agreement(self, batch: Sequence[VerifyInput], answers: dict[str, str]) -> dict[str, float]:
        """Return by answer the probability that it means the same as the reference; 0 for empty answers."""
        questions = {name: entry.question for entry in batch for name in answer_names(entry, answers).values()}
        return self.score_answers({name: (question, answers[name]) for name, question in questions.items()})

    def score_answers(self, answers: Mapping[str, tuple[Question, str]]) -> dict[str, float]:
        """Return by name the probability that an answer means the same as the question's own; 0 for empty answers."""
        requests = {
            name: agreement_request(question, answer)
            for name, (question, answer) in answers.items()
            if significant_words(answer)
        }
        return dict.fromkeys(answers, 0.0) | self.yes_probabilities(requests)

    def _make_verification(
        self, entry: VerifyInput, calls: dict[str, ModelCall], agreement: dict[str, float]
    ) -> Verification:
        question, names = entry.question, answer_names(entry, calls)
        view_answers: dict[str, Any] = {
            view: compare_answer(calls[name].answer.strip(), agreement[name], question) for view, name in names.items()
        }
        tokens = count_tokens([calls[name] for name in dict.fromkeys(names.values())])
        return Verification(
            id=question.id, clip=question.clip, question=question.id, made_by=self.made_by, **tokens, **view_answers
        )


def agreement_request(question: Question, answer: str) -> Request:
    """Return the request for the probability that an answer means the same as the question's own."""
    from ola.prompt import Request

    return Request(
        fill_prompt(
            "verify_agree",
            question=fence_text("question", format_question(question.question, question.options)),
            reference=fence_text("right answer", answer_text(question.answer, question)),
            answer=fence_text("given answer", answer_text(answer, question)),
        )
    )


def compare_answer(answer: str, agreement: float, question: Question) -> ViewAnswer:
    """Return an answer with its agreement and the measures of its words."""
    text, reference = answer_text(answer, question), answer_text(question.answer, question)
    return ViewAnswer(answer=answer, agreement=agreement, exact=exact(text, reference), f1=f1(text, reference))


def count_tokens(calls: Sequence[ModelCall]) -> dict[str, Any]:
    """Return the sums of the tokens of some calls."""
    names = ("prompt_tokens", "answer_tokens", "read_tokens")
    return {name: sum(getattr(call, name) for call in calls) for name in names}


def answer_names(entry: VerifyInput, answers: Container[str]) -> dict[str, str]:
    """Return the name of the answer for each view that the question has. answers: names of all answers."""
    silent = {"both": "video", "audio": "text"} if entry.footage.sound is None else {}
    names = {view: f"{entry.question.id}-{silent.get(view, view)}" for view in VIEWS}
    parts = {view: span_name(entry.question, view) for view in SPAN_VIEWS}
    return names | {view: name for view, name in parts.items() if name in answers}


def answer_text(answer: str, question: Question) -> str:
    """Return the answer's text; for multiple choice, the text of the chosen option."""
    return option_text(answer, question.options) if question.options else answer
