"""Toy records and steps, whose faults are in toy_faults.py; toy_driver.py is a run of them that tests kill.

Each step appends the name of every input to the file `trace`, so that a test can count how often a record ran. A module
of its own, because sandboxes and Ray workers import steps by name.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.ledger import FAILED, Manifest
from manifests.records import Drop, Media, Outcome, Source
from pipeline import step
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane_plan import Lane
from pipeline.errors import BadMedia, SetAside
from pipeline.plan import Plan, build_plan
from pipeline.run import lanes, pending
from pipeline.state.registration import register
from tests.toy_faults import DEEDS, deed, do, eat

MB = 1 << 20
FRAME = b""  # what each frame of a film begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Pebble:
    """Made of a source."""

    id: str
    source: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grain:
    """One of the pieces of a pebble."""

    id: str
    pebble: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gem:
    """A polished grain."""

    id: str
    grain: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
    """A source on film."""

    id: str
    source: str
    film: Media
    sound: Media


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    """Kills the worker that reads it, and no sandbox."""

    id: str
    source: str
    armed: bool

    def __post_init__(self) -> None:
        """Called by whoever makes one, of a row too."""
        if self.armed and not sys.argv[0].endswith("sandbox_process.py"):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Setting:
    """A grain and the pebble it comes from."""

    grain: Grain
    pebble: Pebble


def good(source: Source) -> list[Any]:
    """The pebble that a source gives."""
    return [Pebble(id=f"p-{source.id}", source=source.id, weight=source.bytes)]


GIFTS: Mapping[str, Callable[[Source], list[Any]]] = {
    "give text for a number": lambda source: [replace(good(source)[0], weight="7")],
    "give a half": lambda source: [replace(good(source)[0], weight=0.5)],
    "give another type": lambda source: [Grain(id=source.id, pebble="", number=0)],
    "give bytes of a name": lambda source: [replace(good(source)[0], source="\udcff")],
    "many": lambda source: [replace(good(source)[0], id=f"{n}") for n in range(source.bytes)],
    "give the first again": lambda source: [replace(good(source)[0], id="p-s0000")],
}


class Traced(step.Settings):
    """trace: file that names every input a step was given; pause: seconds a record takes."""

    trace: str = ""
    pause: float = 0.0


class Toy(step.Step[Any, Any]):
    """A step that says what it was given."""

    settings_type = Traced
    settings: Traced
    resources = step.Resources(cpus=1.0, seconds=30.0, memory_gb=1.0)

    def note(self, name: str) -> None:
        """One line, whole even when several processes write."""
        if self.settings.trace:
            file = os.open(self.settings.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(file, f"{self.name} {name}\n".encode())
            os.close(file)
        if self.settings.pause:
            time.sleep(self.settings.pause)


class Take(Toy):
    """Source to Pebble; answers `drop` with a Drop, `nothing` with [], `few` with an answer less than asked."""

    name, takes, gives = "take", Source, Pebble

    def run(self, batch: Sequence[Source]) -> list[list[Pebble] | Drop | BadMedia]:
        answers = [self._pebble(source) for source in batch]
        return answers[:-1] if any(deed(source) == "few" for source in batch) else answers

    def _pebble(self, source: Source) -> list[Pebble] | Drop | BadMedia:
        self.note(source.id)
        do(source)
        if deed(source) == "eat and sign":
            eat(self.alive)
        for _ in range(8 if deed(source) == "slow but alive" else 0):
            time.sleep(0.25)
            self.alive()
        if deed(source) == "bad media":
            return BadMedia("no frame can be decoded")
        if deed(source).startswith("drop"):
            return Drop("is \udcff.mp4") if "bytes" in deed(source) else Drop("unwanted", "the toy does not want it")
        return [] if deed(source) == "nothing" else GIFTS.get(deed(source), good)(source)


class Crack(Toy):
    """Pebble to three Grains; asks for less than Take, and so has a lane of its own."""

    name, takes, gives = "crack", Pebble, Grain
    resources = Toy.resources.model_copy(update={"cpus": 0.5})

    def run(self, batch: Sequence[Pebble]) -> list[list[Grain] | Drop]:
        return [self._grains(pebble) for pebble in batch]

    def _grains(self, pebble: Pebble) -> list[Grain] | Drop:
        self.note(pebble.id)
        return [Grain(id=f"{pebble.id}-{n}", pebble=pebble.id, number=n) for n in range(3)]


class Polish(Toy):
    """Grain and its Pebble to Gem."""

    name, takes, gives = "polish", Setting, Gem
    resources = Toy.resources.model_copy(update={"cpus": 0.5})

    def run(self, batch: Sequence[Setting]) -> list[list[Gem] | Drop]:
        return [self._gem(setting) for setting in batch]

    def _gem(self, setting: Setting) -> list[Gem] | Drop:
        self.note(setting.grain.id)
        return [Gem(id=setting.grain.id, grain=setting.grain.id, weight=setting.pebble.weight / 3)]


class Film(Toy):
    """Source to Reel; the first half of its bytes is kept before the deed is done."""

    name, takes, gives = "film", Source, Reel
    keeps_media = True

    def run(self, batch: Sequence[Source]) -> list[list[Reel] | Drop]:
        return [self._reel(source) for source in batch]

    def _reel(self, source: Source) -> list[Reel] | Drop:
        self.note(source.id)
        film = self.media.add(f"{source.id}.mjpg", (FRAME + source.id.encode()) * source.bytes)
        do(source)
        sound = self.media.add(f"{source.id}.wav", b"sound of " + source.id.encode())
        return [Reel(id=source.id, source=source.id, film=film, sound=sound)]


class Serial(Film):
    """Source to Reel, for all sources of a part in one batch; each answer is handed over at once, as `extract` does."""

    name = "serial"
    together, hands_over = "meta", True

    def run(self, batch: Sequence[Source]) -> list[list[Reel] | Drop]:
        answers = []
        for source in batch:
            answers.append(self._reel(source))
            self.hand_over(answers[-1])
        return answers


class Watch(Toy):
    """Reel to Grain."""

    name, takes, gives = "watch", Reel, Grain

    def run(self, batch: Sequence[Reel]) -> list[list[Grain] | Drop]:
        return [[Grain(id=reel.id, pebble=reel.source, number=reel.film.size)] for reel in batch]


class Lay(Toy):
    """Source to Mine, which is armed if the source's deed is `mine`."""

    name, takes, gives = "lay", Source, Mine

    def run(self, batch: Sequence[Source]) -> list[list[Mine] | Drop]:
        return [[Mine(id=source.id, source=source.id, armed=deed(source) == "mine")] for source in batch]


class Sweep(Toy):
    """Mine to Grain."""

    name, takes, gives = "sweep", Mine, Grain

    def run(self, batch: Sequence[Mine]) -> list[list[Grain] | Drop]:
        return [[Grain(id=mine.id, pebble=mine.source, number=0)] for mine in batch]


class Together(Take):
    """Sources of one size share a batch."""

    together = "bytes"


class Shut(Toy):
    """Does not open."""

    name, takes, gives = "shut", Source, Pebble

    def open(self) -> None:
        DEEDS.get(self.settings.trace, lambda: None)()
        raise FileNotFoundError("weights.bin is not there")


class Unloadable(Take):
    """Cannot be made again in another process."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return refuse, ()


def refuse() -> object:
    """As a module that is not there."""
    raise ImportError("only in one process")


def sources(deeds: Sequence[str]) -> list[Source]:
    """A source a deed, named after its place."""
    return [Source(id=f"s{n:04d}", uri=f"{deed}#{n}", bytes=n % 7 + 1) for n, deed in enumerate(deeds)]


def planned(
    root: Path | str, steps: Sequence[step.Step[Any, Any]], deeds: Sequence[str], per_part: int, **wants: float
) -> tuple[Plan, list[int]]:
    """The plan of `steps` below `root`, its sources registered, and the numbers of its parts."""
    resources = {s.name: s.resources.model_copy(update=wants) for s in steps}
    made = build_plan(str(root), steps, resources)
    return made, register(made.sources, sources(deeds), None, per_part)


def apply(made: Plan, parts: Sequence[int], engine: InlineEngine | RayEngine, isolate: bool = True) -> list[SetAside]:
    """All parts through all steps, as a run does it. Returns what was set aside."""
    try:
        return engine.map(lanes(made.steps, isolate), pending(made.steps, parts))
    finally:
        engine.close()


def outcomes(manifest: Manifest) -> Iterator[Outcome]:
    """What is committed, in the order of parts."""
    for part in sorted(manifest.committed()):
        yield from manifest.outcomes(part)


def failures(manifest: Manifest) -> dict[str, str | None]:
    """Reason of each failed input."""
    return {o.input: o.reason for o in outcomes(manifest) if o.status == FAILED}


def traced(trace: Path) -> Counter[str]:
    """How often each step was given each input."""
    return Counter(trace.read_text().splitlines()) if trace.exists() else Counter()


def in_environment(environment: Mapping[str, str], make: Callable[[], Lane]) -> Lane:
    """Make a lane in a process that gets these variables first."""
    os.environ.update(environment)
    return make()


class BadLane(Lane):
    """A lane with a flaw of its own, which no row can hold."""

    def __call__(self, number: int) -> None:
        """Fail at once."""
        raise RuntimeError(f"no room for {number}")


class DeadlyLane(Lane):
    """A lane that keeps no journal, and takes its process with it at each number."""

    def __init__(self, trace: str) -> None:
        """trace: file that gets a line a number."""
        self.trace = trace

    def __call__(self, number: int) -> None:
        """Note the number and die."""
        with open(self.trace, "a", encoding="utf-8") as file:
            file.write(f"{number}\n")
        os.kill(os.getpid(), signal.SIGKILL)


class HardToOpen(Take):
    """Killed from outside while it opens, `pause` times; `trace` counts them."""

    def open(self) -> None:
        with open(self.settings.trace, "a", encoding="utf-8") as file:
            file.write("killed\n")
        if len(Path(self.settings.trace).read_text(encoding="utf-8").splitlines()) <= self.settings.pause:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, name: str) -> None:
        """Nothing is traced but kills."""
