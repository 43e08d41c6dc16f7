"""What a step is: one verb over records. It knows nothing of Ray, of Parquet or of other steps.

    class Count(Step[Clip, Length]):
        name, takes, gives = "count", Clip, Length
        def run(self, batch):
            return [[Length(id=clip.id, clip=clip.id, ms=clip.end_ms - clip.start_ms)] for clip in batch]

    Count().run([clip])                   # in a REPL: no engine, no files

`takes` is a record type, or a dataclass of records (`Clip` and its `Video`): then the first field is the input and
the others are looked up for it. What a step needs before it follows from that, and the plan is checked for it.
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
    """What decides a step's result: its fields are the YAML keys, and part of the step's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(BaseModel):
    """What a step may use: decides how fast and how safely it runs, never what comes out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: float = 1.0
    """CPUs of a worker."""
    gpus: float = 0.0
    """GPUs of a worker."""
    batch: int = 1
    """Records that the step gets at once."""
    seconds: float = 120.0  # what takes longer than this beyond its allowance does not come back
    """Limit on the wall-clock time of a batch, to which an allowance for the size of its records is added."""
    memory_gb: float = 4.0  # a 4K decoder with its reference frames stays under 1 GB
    """Limit on the resident memory of the step's process and its children, in GB."""


class Step(Generic[In, Out]):
    """One verb. Subclasses give `name`, `takes`, `gives` and `run`; the rest has defaults."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when the same settings give another result
    takes: ClassVar[type]
    gives: ClassVar[type]
    settings_type: ClassVar[type[Settings]] = Settings
    resources: Resources = Resources()
    together: ClassVar[str | None] = None  # a field of the input: neighbours that agree in it share a batch
    keeps_media: ClassVar[bool] = False
    shares: str = ""  # steps of a lane with the same word here live in one process, and share what it holds
    clips_at_once: int = 0  # steps of one process take a part in slices of so many clips; 0: one step after the other
    signs: ClassVar[bool] = False  # calls `hand_over` after each record: its limits are for one record, not the batch

    media: MediaTar  # where a step with `keeps_media` puts bytes; there while `run` runs
    root: str  # of the run: what references to media are relative to; there once the step is planned
    notes: str  # a file of the part's own, for what would be dear to do again; there while `run` runs, "" for none
    scratch: str  # a folder for copies of remote files; there while `run` runs
    alive: Callable[[], None]  # a sign of life: the time limit of the record begins anew
    hand_over: Callable[[Any], None]  # of a step that `signs`: journals the next input's answer before it returns

    def __init__(self, settings: Settings | None = None) -> None:
        """Keep the settings; weights are loaded by `open`."""
        self.alive, self.hand_over = unheard, untaken
        self.settings: Any = self.settings_type() if settings is None else settings

    def open(self) -> None:
        """Load what is heavy. Called once per process, before the first batch; raising ends the run."""

    def run(self, batch: Sequence[In]) -> Sequence[list[Out] | Drop | BadMedia]:
        """One entry per input, in order: the records made of it, why a rule drops it, or why it alone failed.

        Whatever is raised fails the whole batch: those of its records for which no answer was handed over run again.
        """
        raise NotImplementedError

    def originals(self, record: In) -> str:
        """URI of the original that the record is made of, where the step reads it; "" for a step that does not."""
        return ""

    def allowance(self, record: In) -> float:
        """Seconds that a record of this size may take on top of the limit."""
        return 0.0

    def facts(self) -> dict[str, Any]:
        """All that decides the step's result, for its key. Steps with prompts or weights add their digests."""
        return {"step": self.name, "version": self.version, "settings": self.settings.model_dump(mode="json")}

    def defaults(self) -> dict[str, Any]:
        """The default values of what `facts` says, in the same places.

        Facts that are added by a later version, and have these values, leave the keys of older runs valid.
        """
        return {"settings": default_values(type(self.settings))}


def default_values(model: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults of a model's fields as JSON; fields without a default are left out."""
    optional = {name: field for name, field in model.model_fields.items() if not field.is_required()}
    values = {name: field.get_default(call_default_factory=True) for name, field in optional.items()}
    as_json: dict[str, Any] = to_jsonable_python(values)
    return as_json


def unheard() -> None:
    """A sign of life where nobody watches."""


def untaken(answer: Any) -> None:
    """Ignore an answer that is handed over: `run` returns it as well."""


def parts_of(takes: type) -> dict[str, type]:
    """Field name to record type of what a step takes; a plain record is its own only part, under ''."""
    found = {name: hint for name, hint in hints(takes).items() if is_dataclass(hint)} if is_bundle(takes) else {}
    return typing.cast(dict[str, type], found) or {"": takes}


def is_bundle(takes: type) -> bool:
    """Whether `takes` is a dataclass of records, and not a record: records have an `id` of their own."""
    return is_dataclass(takes) and "id" not in hints(takes)


def input_record(takes: type, value: Any) -> Any:
    """The record that the input's row is named after."""
    name = next(iter(parts_of(takes)))
    return getattr(value, name) if name else value


def batches(step: Step[In, Out], size: int, inputs: Sequence[In]) -> Iterator[list[In]]:
    """The inputs in groups of `size`; or, with `together`, all neighbours that agree in that field."""
    if step.together is None:
        for start in range(0, len(inputs), size):
            yield list(inputs[start : start + size])
        return
    field = step.together
    for _, group in groupby(inputs, key=lambda value: getattr(input_record(step.takes, value), field)):
        yield list(group)
