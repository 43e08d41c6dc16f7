"""The base class of steps. A step turns records into records; it does not depend on Ray, Parquet or other steps.

    class Count(Step[Clip, Length]):
        name, takes, gives = "count", Clip, Length
        def run(self, batch):
            return [[Length(id=clip.id, clip=clip.id, ms=clip.end_ms - clip.start_ms)] for clip in batch]

    Count().run([clip])                   # works in a REPL, without an engine or files

`takes` is a record type, or a dataclass of records, such as `clip: Clip` and `video: Video`. Then the first field is
the input, and the others are looked up by id: `video` by the column `video` of `Clip`. The plan is checked for steps
that make all records in `takes`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from itertools import groupby
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

from manifests.records import Drop
from manifests.schema import hints
from pipeline.errors import BadMedia
from pipeline.media.media_store import MediaTar

In = TypeVar("In")
Out = TypeVar("Out")


class Settings(BaseModel):
    """Settings that determine a step's result. Field names are YAML keys; the values are part of the step's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(BaseModel):
    """Resources and limits of a step: they affect its speed and safety, never its result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: float = 1.0
    """CPUs of a worker."""
    gpus: float = 0.0
    """GPUs of a worker."""
    batch: int = 1
    """Records that the step gets at once."""
    seconds: float = 120.0  # a batch that exceeds this limit most likely hangs
    """Limit on the wall-clock time of a batch, to which an allowance for the size of its records is added."""
    memory_gb: float = 4.0  # a 4K decoder with its reference frames stays under 1 GB
    """Limit on the resident memory of the step's process and its children, in GB."""


class Step(Generic[In, Out]):
    """Base class of steps. Subclasses define `name`, `takes`, `gives` and `run`; all else has defaults."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # increase it when the same settings give another result
    takes: ClassVar[type]
    gives: ClassVar[type]
    settings_type: ClassVar[type[Settings]] = Settings
    resources: Resources = Resources()
    together: ClassVar[str | None] = None  # a field of the input: neighbours with the same value share a batch
    keeps_media: ClassVar[bool] = False
    beside: ClassVar[bool] = False  # no step takes its records, so adding it changes no key and reruns no other step
    shares: str = ""  # steps of a lane with the same value run in one process and share its memory
    expects: ClassVar[type | None] = None  # record type of which it is told those that come next, see `expect`
    clips_at_once: int = 0  # clips per slice in which steps of one process take a part; 0: one step after the other
    hands_over: ClassVar[bool] = False  # `run` calls `hand_over` after each record; its limits are per record

    media: MediaTar  # where a step with `keeps_media` writes media; set while `run` runs
    root: str  # root of the run, to which references to media are relative; set once the step is planned
    notes: str  # path of a file of the part for costly intermediate results; "" for none; set while `run` runs
    scratch: str  # folder for copies of remote files; set while `run` runs
    alive: Callable[[], None]  # restarts the time limit of the record
    hand_over: Callable[[Any], None]  # if `hands_over`: journals the answer for the next input

    def __init__(self, settings: Settings | None = None) -> None:
        """Store the settings; `open` loads the weights."""
        self.alive, self.hand_over = ignore_sign_of_life, ignore_answer
        self.settings: Any = self.settings_type() if settings is None else settings

    def open(self) -> None:
        """Load weights. Called once per process, before the first batch; an error ends the run."""

    def expect(self, records: Sequence[Any]) -> None:
        """Take note of the records of type `expects` that come next, in order; called before `run`."""

    def run(self, batch: Sequence[In]) -> Sequence[list[Out] | Drop | BadMedia]:
        """Return one answer per input, in order: its records, a Drop, or a BadMedia if this input failed.

        If `run` raises, the records of the batch without a handed-over answer run again one by one.
        """
        raise NotImplementedError

    def original_uri(self, record: In) -> str:
        """Return the URI of the original file if the step reads it; "" if not."""
        return ""

    def allowance(self, record: In) -> float:
        """Return the seconds that this record may take on top of the limit."""
        return 0.0

    def facts(self) -> dict[str, Any]:
        """Return all values that determine the step's result, for its key. Steps with prompts or weights add theirs."""
        return {"step": self.name, "version": self.version, "settings": self.settings.model_dump(mode="json")}

    def defaults(self) -> dict[str, Any]:
        """Return the default values of `facts`, under the same keys.

        A fact that a later version adds leaves the keys of older runs valid while it has this value.
        """
        return {"settings": default_values(type(self.settings))}


def default_values(model: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults of a settings model as JSON; fields without a default are left out."""
    optional = {name: field for name, field in model.model_fields.items() if not field.is_required()}
    values = {name: field.get_default(call_default_factory=True) for name, field in optional.items()}
    as_json: dict[str, Any] = to_jsonable_python(values)
    return as_json


def ignore_sign_of_life() -> None:
    """Do nothing: there is no time limit to restart."""


def ignore_answer(answer: Any) -> None:
    """Do nothing: `run` returns the answer as well."""


def record_types(takes: type) -> dict[str, type]:
    """Return the record types that a step takes, by field name; a plain record type has the name ''."""
    found = {name: hint for name, hint in hints(takes).items() if is_dataclass(hint)} if is_bundle(takes) else {}
    return typing.cast(dict[str, type], found) or {"": takes}


def is_bundle(takes: type) -> bool:
    """Return whether `takes` is a dataclass of records, which has no `id`, and not a record."""
    return is_dataclass(takes) and "id" not in hints(takes)


def input_record(takes: type, value: Any) -> Any:
    """Return the record whose id is the input's id."""
    name = next(iter(record_types(takes)))
    return getattr(value, name) if name else value


def batches(step: Step[In, Out], size: int, inputs: Sequence[In]) -> Iterator[list[In]]:
    """Yield the inputs in batches of `size`; with `together`, in groups of neighbours that agree in this field."""
    if step.together is None:
        for start in range(0, len(inputs), size):
            yield list(inputs[start : start + size])
        return
    field = step.together
    for _, group in groupby(inputs, key=lambda value: getattr(input_record(step.takes, value), field)):
        yield list(group)
