"""From what a step answers, or how it fails, to the outcome that its input's row holds."""

from __future__ import annotations

import signal
import traceback
import typing
from collections.abc import Sequence
from typing import Any

from manifests.ledger import DROPPED, FAILED, OK, misfit
from manifests.records import Drop, Outcome
from pipeline.errors import BadMedia, OlaError, StepFault
from pipeline.step import Step

REASON = 300  # characters of a row's reason: the rest is in its detail


def answers_of(step: Step[Any, Any], batch: Sequence[Any]) -> list[Any]:
    """One answer per input: a Drop, or records that can be stored as they are. Raises StepFault where they are not."""
    answers = list(step.run(batch))
    if len(answers) != len(batch):
        raise StepFault(f"step '{step.name}' gave {len(answers)} answers for {len(batch)} inputs")
    made = [answer if isinstance(answer, Drop | BadMedia) else list(answer) for answer in answers]
    for record in (record for answer in made if isinstance(answer, list) for record in answer):
        if (wrong := misfit(step.gives, record)) is not None:
            raise StepFault(f"step '{step.name}' gave a {step.gives.__name__} that cannot be stored: {wrong}")
    return made


def error_detail(error: BaseException) -> str | None:
    """What a row says beyond its reason: where it happened, unless the error is one of ours and says all itself."""
    return None if isinstance(error, OlaError) else traceback.format_exc()


def error_line(error: BaseException) -> str:
    """An error as a row's reason: its own words if it is one of ours or says enough, else with its type."""
    text = " ".join(str(error).split())
    line = text if isinstance(error, OlaError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
    return line if len(line) <= REASON or isinstance(error, OlaError) else f"{line[: REASON - 1]}…"


def outcome_of(name: str, answer: Any, seconds: float) -> Outcome:
    """What a step's answer for one input means."""
    if isinstance(answer, BadMedia):
        return failed(name, str(answer), answer.detail, seconds)
    if isinstance(answer, Drop):
        return Outcome(name, DROPPED, seconds, (), storable(answer.reason), storable(answer.detail))
    if not answer:
        return failed(name, "the step gave no answer", None, seconds)
    return Outcome(name, OK, seconds, tuple(answer))


def failed(name: str, reason: str, detail: str | None, seconds: float) -> Outcome:
    """The outcome of an input that a step could not do."""
    return Outcome(name, FAILED, seconds, (), storable(reason), storable(detail))


def storable(text: str | None) -> str | None:
    """Text without what UTF-8 cannot hold: errors quote file names, which may be any bytes."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


def ids_of(outcome: Outcome) -> list[str]:
    """Ids of the records of an outcome."""
    return [str(typing.cast(Any, record).id) for record in outcome.records]


def ending(code: int) -> str:
    """How a process ended, in words; `code` as `Popen.wait` returns it."""
    if code >= 0:
        return f"exit code {code}"
    names = {int(s): s.name for s in signal.Signals}
    return f"signal {names.get(-code, -code)}"
