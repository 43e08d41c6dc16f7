"""What a step's answers mean as outcomes, and how the end of its process reads in words."""

from __future__ import annotations

import signal
import typing
from collections.abc import Sequence
from typing import Any

from manifests.ledger import DROPPED, FAILED, OK, misfit
from manifests.records import Drop, Outcome
from pipeline.errors import BadMedia, Died, Killed, StepFault
from pipeline.step import Step


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


def ending(code: int | None, words: str, used: int, limit: float) -> Died | Killed:
    """How a process ended that nobody of ours killed.

    code: as `Popen.wait` gives it, None for a process that only closed its pipe; words: what it printed last;
    used: bytes it had at the last measurement, 0 for none; limit: bytes it may have.
    A SIGKILL is no fault of the record: it comes from the kernel of a machine without memory, or from a person.
    """
    if code is None:
        return Died("closed its pipe", words)
    if code == -signal.SIGKILL:
        at = f" at {used / 1e9:.1f} GB" if used else ""
        below = f", below its limit of {limit / 1e9:.1f} GB" if limit else ""
        return Killed(f"killed from outside (SIGKILL){at}{below}: the machine ran out of memory, or somebody killed it")
    names = {int(s): s.name for s in signal.Signals}
    return Died(f"exit code {code}" if code >= 0 else f"signal {names.get(-code, -code)}", words)
