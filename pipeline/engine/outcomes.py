"""Convert a step's answers and errors to the outcomes that are stored as rows."""

from __future__ import annotations

import signal
import traceback
import typing
from collections.abc import Callable, Sequence
from typing import Any

from manifests.field_types import type_mismatch
from manifests.ledger import DROPPED, FAILED, OK
from manifests.records import Drop, Outcome
from pipeline.errors import BadMedia, OlaError, StepFault
from pipeline.step import Step

REASON = 300  # characters of a row's reason: the rest is in its detail


def run_batch(step: Step[Any, Any], batch: Sequence[Any], answered: Callable[[Any], None] | None = None) -> list[Any]:
    """Run a batch. Returns a Drop, a BadMedia or a list of records per input. Raises StepFault for invalid records.

    answered: called with each answer that the step hands over early; these answers are not returned.
    """
    handed_over = 0

    def hand_over(answer: Any) -> None:
        nonlocal handed_over
        if answered is not None and handed_over < len(batch):
            answered(storable_answer(step, answer))
            handed_over += 1

    step.hand_over = hand_over
    answers = list(step.run(batch))
    if len(answers) != len(batch):
        raise StepFault(f"step '{step.name}' gave {len(answers)} answers for {len(batch)} inputs")
    return [storable_answer(step, answer) for answer in answers[handed_over:]]


def storable_answer(step: Step[Any, Any], answer: Any) -> Any:
    """Return an answer as a Drop, a BadMedia or a list of records. Raises StepFault for an invalid record."""
    if isinstance(answer, Drop | BadMedia):
        return answer
    records = list(answer)
    for record in records:
        if (wrong := type_mismatch(step.gives, record)) is not None:
            raise StepFault(f"step '{step.name}' gave a {step.gives.__name__} that cannot be stored: {wrong}")
    return records


def error_detail(error: BaseException) -> str | None:
    """Return the `detail` of a row: an error's own detail, or its traceback."""
    return None if isinstance(error, OlaError) else traceback.format_exc()


def error_line(error: BaseException) -> str:
    """Return the `reason` of a row: the error's message, with its type if the message alone is unclear."""
    text = " ".join(str(error).split())
    line = text if isinstance(error, OlaError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
    return line if len(line) <= REASON or isinstance(error, OlaError) else f"{line[: REASON - 1]}…"


def outcome_of(name: str, answer: Any, seconds: float) -> Outcome:
    """Make the outcome of an input from the step's answer."""
    if isinstance(answer, BadMedia):
        return failed_outcome(name, str(answer), answer.detail, seconds)
    if isinstance(answer, Drop):
        return Outcome(name, DROPPED, seconds, (), storable_text(answer.reason), storable_text(answer.detail))
    if not answer:
        return failed_outcome(name, "the step gave no answer", None, seconds)
    return Outcome(name, OK, seconds, tuple(answer))


def failed_outcome(name: str, reason: str, detail: str | None, seconds: float) -> Outcome:
    """Make the outcome of an input that failed."""
    return Outcome(name, FAILED, seconds, (), storable_text(reason), storable_text(detail))


def storable_text(text: str | None) -> str | None:
    """Return the text without characters that UTF-8 cannot encode. Errors quote file names, which may be any bytes."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


def record_ids(outcome: Outcome) -> list[str]:
    """Return the ids of the records of an outcome."""
    return [str(typing.cast(Any, record).id) for record in outcome.records]


def exit_description(code: int) -> str:
    """Describe in words how a process ended. code: as `Popen.wait` returns it."""
    if code >= 0:
        return f"exit code {code}"
    names = {int(s): s.name for s in signal.Signals}
    return f"signal {names.get(-code, -code)}"
