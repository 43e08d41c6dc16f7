"""Make multiple choices of open questions: the wrong options are drawn from what is seen or heard in the clip.

The model restates the answer and names things of its kind that are in the clip at another time, all in one form. Rules
leave out those of another kind or length. Then the model judges whether each is in the clip, whether it answers the
question, too, and whether the restated answer does. All requests
about a clip begin with the same media, which are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from manifests.records import ClipMedia, Distractor, Drop, ModelCall, Question
from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.asked_twice import ParsedAnswer, ask_twice
from pipeline.annotation.distractors import (
    USED,
    choose_distractors,
    clean_option,
    distractor_flaws,
    parse_list,
    place_options,
)
from pipeline.annotation.text_rules import leaks_answer
from pipeline.errors import BadMedia
from pipeline.prompts import prompt
from stages.text_metrics import exact

if TYPE_CHECKING:
    from ola.prompt import Request
    from pipeline.steps.ask import Ask, AskInput

PROCEDURE = 1  # version of how distractors are found
PROMPTS = ("ask_distractors", "ask_present", "ask_also_right")
SETTINGS = ("distractors", "least_present", "most_agreement")
PROPOSED = 6  # beside the answer; twice as many as are used: rules and judgements leave some out
MOST_PROPOSED = 12  # a list without end is cut
LONGEST = 256  # tokens of the list
SPARE, ABSENT, ALSO_RIGHT = "spare", "not in the clip", "answers the question, too"
IN_QUESTION = "the question has the restated answer"
RESTATED = "the answer is restated with another meaning"
PRESENT, RIGHT = "present", "right"  # the two judgements, in the names of requests
Answer = list[Question] | Drop | BadMedia


@dataclass(frozen=True)
class OpenQuestion:
    """A question without options. media: a request with the clip's media, without a text."""

    question: Question
    media: Request

    def request(self, name: str, **texts: str) -> Request:
        """Return the request of a prompt about the question and its answer."""
        question, answer = fence_text("question", self.question.question), fence_text("answer", self.question.answer)
        return replace(self.media, text=fill_prompt(name, question=question, answer=answer, **texts))

    def judgements(self, option: str, with_presence: bool) -> dict[str, Request]:
        """Return the requests that judge a proposed option."""
        present = replace(self.media, text=fill_prompt("ask_present", thing=fence_text("words", option)))
        right = {RIGHT: self.request("ask_also_right", other=fence_text("other answer", option))}
        return {PRESENT: present} | right if with_presence else right


@dataclass(frozen=True)
class Proposal:
    """The options proposed for a question. fault: why there are none, or "". right: the answer as restated."""

    call: ModelCall
    fault: str
    right: str
    options: tuple[Distractor, ...] = ()


def distractor_facts(facts: dict[str, Any], draws: bool) -> dict[str, Any]:
    """Return the facts of `ask` with the prompts of distractors; without their settings where these have no effect.

    draws: whether distractors are drawn from the clip.
    """
    if draws:
        return {**facts, "distractor_prompts": {name: prompt(name) for name in PROMPTS}, "distractor_step": PROCEDURE}
    others = {name: value for name, value in facts["settings"].items() if name not in SETTINGS}
    return {**facts, "settings": others}


def add_clip_options(step: Ask, batch: Sequence[AskInput], answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of `ask` with options. Questions without enough distractors are left out.

    answers: to the inputs of the batch, with open questions.
    """
    opened: dict[str, OpenQuestion] = {}
    for entry, answer in zip(batch, answers, strict=True):
        if isinstance(answer, list):
            media = _media_request(step, entry.footage)
            opened |= {each.id: OpenQuestion(each, media) for each in answer}
    proposals = _judge(step, opened, _propose(step, opened))
    return [_with_options(answer, proposals) if isinstance(answer, list) else answer for answer in answers]


def _media_request(step: Ask, footage: ClipMedia) -> Request:
    from ola.prompt import Request

    clip = step.load(footage)
    return Request(video=clip.video, sounds=() if clip.sound is None else (clip.sound,), max_new_tokens=LONGEST)


def _propose(step: Ask, opened: Mapping[str, OpenQuestion]) -> dict[str, Proposal]:
    """Ask for distractors, a second time where the list cannot be parsed, and apply the rules."""
    requests = {
        f"{name}-distractors": each.request("ask_distractors", count=str(PROPOSED + 1)) for name, each in opened.items()
    }
    answers = {f"{name}-distractors": clean_option(each.question.answer) for name, each in opened.items()}
    parsed = ask_twice(step, requests, lambda name, call: parse_list(call.answer, call.finish, answers[name]))
    return {name: _make_proposal(each.question, parsed[f"{name}-distractors"]) for name, each in opened.items()}


def _make_proposal(question: Question, answer: ParsedAnswer[tuple[str, list[str]]]) -> Proposal:
    if answer.value is None:
        return Proposal(answer.call, answer.faults[-1], "")
    right, texts = answer.value[0], answer.value[1][:MOST_PROPOSED]
    if leaks_answer(question.question, right):
        return Proposal(answer.call, IN_QUESTION, right)
    flaws = distractor_flaws(texts, right, question.question)
    options = tuple(Distractor(text=text, flaw=flaw) for text, flaw in zip(texts, flaws, strict=True))
    return Proposal(answer.call, "", right, options)


def _judge(step: Ask, opened: Mapping[str, OpenQuestion], proposals: Mapping[str, Proposal]) -> dict[str, Proposal]:
    """Ask whether the options are in the clip and whether they answer the question; mark those that cannot be used."""
    asks_presence = step.settings.least_present > 0
    requests = {
        f"{name}-distractor-{n}-{judgement}": request
        for name, proposal in proposals.items()
        for n, option in enumerate(proposal.options)
        if not option.flaw
        for judgement, request in opened[name].judgements(option.text, asks_presence).items()
    }
    restated = {
        f"{name}-restated": opened[name].request("ask_also_right", other=fence_text("other answer", proposal.right))
        for name, proposal in proposals.items()
        if not proposal.fault and not exact(proposal.right, opened[name].question.answer)
    }
    scores = step.yes_probabilities(requests | restated)
    wrong = {name for name in proposals if scores.get(f"{name}-restated", 1.0) < step.settings.most_agreement}
    return {
        name: replace(
            proposal,
            fault=RESTATED if name in wrong else proposal.fault,
            options=tuple(
                _mark(step, option, *(scores.get(f"{name}-distractor-{n}-{each}") for each in (PRESENT, RIGHT)))
                for n, option in enumerate(proposal.options)
            ),
        )
        for name, proposal in proposals.items()
    }


def _mark(step: Ask, option: Distractor, present: float | None, agreement: float | None) -> Distractor:
    """Return an option with its probabilities, and with a flaw if they rule it out."""
    absent = present is not None and present < step.settings.least_present
    also_right = agreement is not None and agreement >= step.settings.most_agreement
    flaw = option.flaw or (ABSENT if absent else ALSO_RIGHT if also_right else "")
    return replace(option, present=present, agreement=agreement, flaw=flaw)


def _with_options(questions: Sequence[Question], proposals: Mapping[str, Proposal]) -> Answer:
    """Return the questions of a clip with options, or a drop where no question has enough."""
    made = [_choose(each, proposals[each.id]) for each in questions]
    flaws = {f"Q{each.number + 1}": flaw for each, flaw in zip(questions, made, strict=True) if isinstance(flaw, str)}
    left_out = (*questions[0].left_out, *(f"{label}: {flaw}" for label, flaw in flaws.items()))
    kept = [replace(each, left_out=left_out) for each in made if isinstance(each, Question)]
    if kept:
        return kept
    reasons = sorted({flaw.partition(":")[0] for flaw in flaws.values()})
    lists = (f"{each.question}\n{proposals[each.id].call.answer}" for each in questions)
    return Drop(f"no question kept: {', '.join(reasons)}", "\n\n".join((*left_out, *lists)))


def _choose(question: Question, proposal: Proposal) -> Question | str:
    """Return a question with options, or why it has none."""
    usable = [each.text for each in proposal.options if not each.flaw]
    if proposal.fault:
        return f"no distractors: {proposal.fault}"
    if len(usable) < USED:
        return f"too few distractors: {len(usable)} of {USED} ({_describe_flaws(proposal.options)})"
    chosen = choose_distractors(usable, proposal.right, question.id)
    letter, options = place_options(proposal.right, chosen, question.id)
    spare = [replace(each, flaw=each.flaw or ("" if each.text in chosen else SPARE)) for each in proposal.options]
    return replace(question, answer=letter, options=options, distractors=tuple(spare), distractors_asked=proposal.call)


def _describe_flaws(options: Iterable[Distractor]) -> str:
    return "; ".join(f"{each.text}: {each.flaw}" for each in options if each.flaw)
