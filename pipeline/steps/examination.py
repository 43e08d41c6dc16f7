"""Ask witnesses about questions, one view after another, until a view answers or none is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from manifests.records import ModelCall, Question, WitnessAnswer
from pipeline.annotation.text_rules import option_text
from pipeline.steps.witness_views import (
    ALWAYS,
    STAGES,
    ClipContent,
    guess_chance,
    is_asked,
    option_orders,
    question_text,
    sampled_agreement,
    sampling_seed,
)
from stages.text_metrics import exact

if TYPE_CHECKING:
    from ola.prompt import Request
    from pipeline.annotation.annotator import Annotator
    from pipeline.annotation.witnesses import Witness
    from pipeline.steps.verify import Verify


@dataclass(frozen=True)
class Examined:
    """A question under examination.

    reference: the text of its answer. contents: of its clip, by the witness's label. answers, calls: so far.
    """

    question: Question
    reference: str
    contents: Mapping[str, ClipContent]
    answers: list[WitnessAnswer] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)


def examine(step: Verify, witnesses: Sequence[tuple[Witness, Annotator]], examined: Sequence[Examined]) -> None:
    """Add the answers of the witnesses to all questions. Each view of a witness is one call of its model."""
    settings = step.settings
    views = {*ALWAYS, *settings.more_views}
    for stage in STAGES:
        for witness, model in witnesses:
            for view in stage:
                if view in views:
                    some = [
                        each
                        for each in examined
                        if settings.all_views or is_asked(view, each.answers, settings.agreement)
                    ]
                    _ask_view(step, witness, model, view, some)


def _ask_view(step: Verify, witness: Witness, model: Annotator, view: str, examined: Sequence[Examined]) -> None:
    """Ask a witness for one view of some questions, in all orders of their options, and several times if wanted."""
    tries = {each.question.id: _make_tries(step, witness, view, each) for each in examined}
    calls = step.ask_model({name: asked for some in tries.values() for name, (_, asked) in some.items()}, model)
    answers = {name: calls[name].answer.strip() for some in tries.values() for name in some}
    open_ended = [each for each in examined if not each.question.options]
    scores = step.score_answers(
        {name: (each.question, answers[name]) for each in open_ended for name in tries[each.question.id]}
    )
    for each in examined:
        if some := tries[each.question.id]:
            each.calls.extend(calls[name] for name in some)
            agreements = [
                scores[name] if name in scores else float(exact(option_text(answers[name], options), each.reference))
                for name, (options, _) in some.items()
            ]
            chance = guess_chance(each.question, each.reference, step.settings.orders)
            each.answers.append(
                WitnessAnswer(
                    witness=witness.label,
                    view=view,
                    answers=tuple(answers[name] for name in some),
                    agreements=tuple(agreements),
                    agreement=sampled_agreement(agreements, step.settings.samples, chance),
                )
            )


def _make_tries(
    step: Verify, witness: Witness, view: str, examined: Examined
) -> dict[str, tuple[tuple[str, ...], Request]]:
    """Return the requests of a view, by name, with the order of the options; none where the clip has no such view."""
    found: dict[str, tuple[tuple[str, ...], Request]] = {}
    for n, options in enumerate(option_orders(examined.question, step.settings.orders)):
        text = question_text(examined.question, options)
        request = examined.contents[witness.label].request(view, text, step.settings.longest)
        if request is not None:
            name = f"{examined.question.id}-{witness.label}-{view}-{n}"
            found |= {each: (options, asked) for each, asked in _make_samples(step, name, request)}
    return found


def _make_samples(step: Verify, name: str, request: Request) -> Iterator[tuple[str, Request]]:
    """Yield a request with its name: as it is, or each of its samples with a seed of its own."""
    settings = step.settings
    if settings.samples == 1:
        yield name, request
        return
    for number in range(settings.samples):
        each = f"{name}-{number}"
        yield each, replace(request, temperature=settings.temperature, seed=sampling_seed(each))
