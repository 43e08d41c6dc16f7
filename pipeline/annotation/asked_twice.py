"""Ask a model once more for an answer that cannot be parsed, with the fault in the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manifests.records import ModelCall
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.errors import BadMedia

if TYPE_CHECKING:
    from ola.prompt import Request

T = TypeVar("T")
RETRY = "again"


@dataclass(frozen=True)
class ParsedAnswer(Generic[T]):
    """What was parsed of the last answer to a request.

    value: None if no answer can be parsed. calls: one, or two where it was asked again. faults: of each answer that
    cannot be parsed, in words.
    """

    value: T | None
    calls: tuple[ModelCall, ...]
    faults: tuple[str, ...] = ()

    @property
    def call(self) -> ModelCall:
        """The last call."""
        return self.calls[-1]

    def failure(self, what: str) -> BadMedia:
        """Return the failure of a request for `what`, with all answers."""
        raw = (f"{fault}\n{call.answer}" for fault, call in zip(self.faults, self.calls, strict=True))
        return BadMedia(f"no {what}: {self.faults[-1].partition(':')[0]}, twice", "\n\n".join(raw))


def ask_twice(
    step: ModelStep[Any, Any], requests: Mapping[str, Request], parse: Callable[[str, ModelCall], T | str]
) -> dict[str, ParsedAnswer[T]]:
    """Return the parsed answers by the names of the requests. parse: gets a name; returns the fault as a text."""
    first = step.ask_model(requests)
    found = {name: _parse(parse, name, call) for name, call in first.items()}
    again = {
        f"{name}-{RETRY}": retry_request(requests[name], answer.faults[0], answer.call.answer)
        for name, answer in found.items()
        if answer.value is None
    }
    second = step.ask_model(again)
    for name, answer in found.items():
        if answer.value is None:
            last = _parse(parse, name, second[f"{name}-{RETRY}"])
            found[name] = replace(last, calls=(*answer.calls, *last.calls), faults=(*answer.faults, *last.faults))
    return found


def _parse(parse: Callable[[str, ModelCall], T | str], name: str, call: ModelCall) -> ParsedAnswer[T]:
    value = parse(name, call)
    return ParsedAnswer(None, (call,), (value,)) if isinstance(value, str) else ParsedAnswer(value, (call,))


def retry_request(request: Request, fault: str, answer: str) -> Request:
    """Return the request with the first answer and its fault added."""
    return replace(
        request, text=f"{request.text}\n\n{fill_prompt('ask_again', wrong=fault, answer=fence_text('answer', answer))}"
    )
