"""Toy steps, inputs and manifests with faults that are no record's own.

What a source's uri says is what `Weather` does with it. Kept in a module of its own because Ray workers import it.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from manifests.ledger import Counts, Manifest
from manifests.records import Outcome, Source
from pipeline.errors import Unavailable
from pipeline.plan import Planned
from tests.toys import MB, Pebble, Take, good


def kill_me() -> None:
    """End as if the kernel's out-of-memory killer had chosen this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk() -> None:
    """Fail as a write to a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device", "scratch/copy")


def lose_the_store() -> None:
    """Fail as a read from a store does that does not answer."""
    raise Unavailable("videos/a.mp4: the store answers 503")


DEEDS: Mapping[str, Callable[[], object]] = {
    "killed": kill_me,
    "disk full": fill_the_disk,
    "unavailable": lose_the_store,
}


class Weather(Take):
    """Source to Pebble. `killed once PATH`: killed unless PATH is there; `kill opening` as `pause`: see `open`."""

    name = "weather"

    def open(self) -> None:
        if self.settings.pause < 0:
            kill_me()

    def _pebble(self, source: Source) -> list[Pebble]:
        self.note(source.id)
        if source.uri.startswith("killed once ") and not (path := Path(source.uri[12:])).exists():
            path.touch()
            self.eaten = b"x" * (300 * MB)
            signal.sigtimedwait((), 0.5)  # long enough for its memory to be measured
            kill_me()
        DEEDS.get(source.uri, lambda: None)()
        return good(source)  # type: ignore[no-any-return]


class DeadlyInputs(Planned):
    """Kills the worker that reads the inputs of part 1."""

    def inputs(self, part: int) -> list[Any]:
        if part == 1:
            kill_me()
        return super().inputs(part)


class BrokenInputs(Planned):
    """A flaw of our own code, in part 1 alone."""

    def inputs(self, part: int) -> list[Any]:
        return super().inputs(part) if part != 1 else [{}["c0007"]]  # type: ignore[index]


class FullDisk(Planned):
    """The disk is full when part 1 is read."""

    def inputs(self, part: int) -> list[Any]:
        if part == 1:
            fill_the_disk()
        return super().inputs(part)


class DeadlyCommit(Manifest):
    """Kills the worker that commits part 1."""

    def commit(self, part: int, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> Counts:
        if part == 1:
            kill_me()
        return super().commit(part, inputs, outcomes)


def changed(planned: Planned, kind: type[Planned] = Planned, **facts: Any) -> Planned:
    """The same planned step as another kind of it, or with other facts."""
    return kind(**{**{field.name: getattr(planned, field.name) for field in fields(Planned)}, **facts})


def deadly_commit(manifest: Manifest) -> Manifest:
    """The same manifest, whose commit kills."""
    return DeadlyCommit(**{field.name: getattr(manifest, field.name) for field in fields(Manifest)})


class DeadlyLane:
    """A lane that kills its worker at number 1, and keeps no journal."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __call__(self, number: int) -> None:
        """Note the number, and die if it is 1."""
        with open(self.trace, "a") as file:
            file.write(f"{number}\n")
        if number == 1:
            kill_me()

    def close(self) -> None:
        """Nothing is held."""
