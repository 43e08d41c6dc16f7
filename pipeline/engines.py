"""Engines: who calls the lanes. A lane is anything that is called with a number and closed in the end.

`inline` is a loop in this process; `ray` is one Ray Data graph whose rows are the numbers, with a pool of actors a
lane: overlap of lanes, back-pressure and fractional GPUs are Ray Data's. What is done and what failed is on disk, so
an engine has nothing to return.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.attempts import Attempts, begin
from pipeline.errors import OlaError, RunError, SetAside

ROOM = 0.8  # of the nodes' memory that lanes reserve together at most: pieces that are left fit nobody
STALE = 86400.0  # seconds: a younger one may be of a container that shares this folder, but not our process ids
FOLDER = "ola-ray"  # of a Ray of our own, then its driver's process id


class Lane(Protocol):
    """Takes numbers (of parts, of shards) and does what there is to do for each."""

    def __call__(self, number: int, /) -> None:
        """Do it. Raises SetAside where this number cannot go on, and the others can."""

    def close(self) -> None:
        """Let go of processes and files."""


@dataclass(frozen=True)
class LanePlan:
    """How to make a lane, and what one of it may use. `make` and its result must be picklable for Ray.

    retries: how often a number is given to a new worker after the death of the one before; -1: without end, for a
    lane that counts deaths itself.
    """

    make: Callable[[], Lane]
    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0  # bytes
    retries: int = 3


class Inline:
    """A loop in this process: no Ray is imported, and a debugger works."""

    def map(self, lanes: Sequence[LanePlan], numbers: Sequence[int]) -> list[SetAside]:
        """Every number through all lanes, one after the other. Returns what was set aside on the way."""
        made = [lane.make() for lane in lanes]
        aside = []
        try:
            for number in numbers:
                try:
                    for lane in made:
                        lane(number)
                except SetAside as fault:
                    aside.append(fault)
        finally:
            for lane in made:
                lane.close()
        return aside

    def close(self) -> None:
        """Nothing is held."""


class LaneActor:
    """A lane inside a Ray actor; rows of the graph are `{"number": n, "aside": ""}`.

    aside: of a number that was set aside by this lane or one before it, why: a SetAside as JSON.
    """

    def __init__(self, make: Callable[[], Lane], retries: int, attempts: Any) -> None:
        """Make the lane in the actor's own process. `attempts`: an actor of `Attempts`, None if `retries` is -1."""
        self.lane, self.retries, self.attempts = make(), retries, attempts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the number and pass it on."""
        if row["aside"]:
            return row
        try:
            if self.attempts is not None:
                begin(self.attempts, int(row["number"]), self.retries)
            self.lane(int(row["number"]))
        except SetAside as fault:
            return {**row, "aside": json.dumps(fault.args)}
        except Exception as error:
            raise Carried(ours(error)) from error
        return row


class Carried(Exception):
    """Brings an error through Ray unchanged, which writes into the words of what it carries itself."""

    def __init__(self, error: OlaError) -> None:
        """The error to bring."""
        super().__init__(str(error))
        self.error = error

    def __reduce__(self) -> tuple[type[Carried], tuple[OlaError]]:
        """Made again from the error alone."""
        return Carried, (self.error,)


class OnRay:
    """A Ray Data graph, on the Ray this process is in already, that of `address` or RAY_ADDRESS, else one of our own.

    Our own is never found by anybody else: it has its own folder, and ends with `close`. It starts with the first map.
    """

    def __init__(self, workers: int = 0, address: str = "") -> None:
        """workers: actors a lane; 0: as many as the cluster's CPUs and GPUs hold."""
        self.workers, self.address = workers, address or os.environ.get("RAY_ADDRESS", "")
        self.folder: str | None = None

    def map(self, lanes: Sequence[LanePlan], numbers: Sequence[int]) -> list[SetAside]:
        """Every number through all lanes. Returns what was set aside on the way.

        Raises the OlaError that a lane raised, or RunError with Ray's words.
        """
        if not numbers:
            return []
        self.connect()
        import ray

        lanes = [self._fitted(lane) for lane in lanes]
        size = min(len(numbers), self.workers or _fitting(lanes))
        try:
            rows = list(_graph(_reserved(lanes, size), numbers, size).iter_rows())
        except ray.exceptions.RayError as error:
            raise original(error) from error
        aside = [SetAside(*json.loads(row["aside"])) for row in rows if row["aside"]]
        return sorted(aside, key=lambda fault: fault.part)

    def holds(self, many: int, kind: str) -> None:
        """RunError where this machine has fewer `kind`s: Ray would wait for others for ever. A cluster may grow."""
        import ray

        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if self.folder is not None and many > have.get(kind, 0):
            raise RunError(f"{many} workers, and this machine has {have.get(kind, 0):g} {kind}s: name a cluster")

    def _fitted(self, lane: LanePlan) -> LanePlan:
        """On this machine, CPUs that it has: Ray would wait for others for ever. A cluster may grow."""
        if self.folder is None:
            return lane
        import ray

        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if lane.gpus > have.get("GPU", 0):
            raise RunError(
                f"a step asks for {lane.gpus:g} GPUs, and this machine has {have.get('GPU', 0):g}: "
                "lower resources.<step>.gpus, or name a cluster as ray_address"
            )
        return replace(lane, cpus=min(lane.cpus, have["CPU"]))

    def close(self) -> None:
        """End the Ray that was started here, and delete its folder."""
        if self.folder is not None:
            import ray

            ray.shutdown()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def connect(self) -> None:
        """Be in a Ray: the one this process is in, or the one named, else a new one of our own."""
        import ray
        from ray.data import DataContext

        if not ray.is_initialized():
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of its own future
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else of actors that it restarts, on the terminal
            if not self.address:
                # Ray would kill a whole worker where memory runs out, and its record would be blamed; the kernel kills
                # the step's process first, which its worker can tell from a fault of the record
                os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
                os.environ.setdefault("RAY_worker_oom_score_adjustment", "500")  # the step's process has 1000
                remove_folders()
                self.folder = tempfile.mkdtemp(prefix=f"{FOLDER}-{os.getpid()}-")
                quiet |= {"include_dashboard": False, "_temp_dir": self.folder}
            with hushed():  # it says that it has read the line above
                ray.init(address=self.address or "local", **quiet)
        context = DataContext.get_current()
        context.enable_progress_bars = False  # ours are enough
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # a part may well take over half an hour; its cells have limits
        context.raise_original_map_exception = True  # else a UserCodeException hides it
        context.max_consecutive_actor_init_deaths = 8  # a node may be lost while an actor starts on it
        for handler in logging.getLogger("ray.data").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.CRITICAL)  # what it would say of errors comes as the error itself


def remove_folders() -> None:
    """Delete what killed runs left of their Rays: logs and sockets, some MB each."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}-*"):
        with suppress(ValueError, OSError):  # not one of ours, or somebody was faster
            pid, age = int(path.name.split("-")[2]), time.time() - path.stat().st_mtime
            if age > STALE and not psutil.pid_exists(pid):
                shutil.rmtree(path)


@contextmanager
def hushed() -> Iterator[None]:
    """Standard error goes nowhere, not even that of C++; errors that are raised are not touched."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _fitting(lanes: Sequence[LanePlan]) -> int:
    """How many of each lane the cluster holds at once."""
    import ray

    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    fits = int(have.get("CPU", 1) / max(1e-9, sum(lane.cpus for lane in lanes)))
    gpus = sum(lane.gpus for lane in lanes)
    return max(1, min(fits, int(have.get("GPU", 0) / gpus)) if gpus else fits)


def _reserved(lanes: Sequence[LanePlan], size: int) -> list[LanePlan]:
    """The lanes with memory that the nodes have: Ray would wait for more for ever, and limits are seldom reached."""
    import ray

    memory = [float(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    wanted = size * sum(lane.memory for lane in lanes)
    share = min(1.0, ROOM * sum(memory) / wanted) if wanted else 1.0
    return [replace(lane, memory=min(lane.memory * share, ROOM * max(memory)) // 1) for lane in lanes]


def _graph(lanes: Sequence[LanePlan], numbers: Sequence[int], size: int) -> Any:
    import ray.data
    from ray.data import ActorPoolStrategy

    items = [{"number": number, "aside": ""} for number in numbers]
    rows: Any = ray.data.from_items(items, override_num_blocks=len(numbers))
    for lane in lanes:
        # a second number that waits at an actor saves it the 0.1 s until Ray Data hands out the next one; where there
        # are few, it would leave others idle at the end
        pool = ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2 if len(numbers) > 8 * size else 1)
        attempts = ray.remote(num_cpus=0)(Attempts).remote() if lane.retries >= 0 else None
        wants = {"num_cpus": lane.cpus, "num_gpus": lane.gpus, "memory": lane.memory or None}
        rows = rows.map(LaneActor, fn_constructor_args=(lane.make, lane.retries, attempts), compute=pool, **wants)
    return rows


def original(error: BaseException) -> OlaError:
    """The error that a lane raised, out of Ray's wrapping."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Carried):
            return seen.error
        seen = getattr(seen, "cause", None) or seen.__cause__
    return ours(error)


def ours(error: BaseException) -> OlaError:
    """An error as one of ours: itself, or a RunError with its last line and, as a note, where it was raised."""
    if isinstance(error, OlaError):
        return error
    lines = str(error).strip().splitlines() or [""]
    made = RunError(f"a worker failed: {type(error).__name__}: {lines[-1].strip()}")
    made.add_note("".join(traceback.format_exception(error)))
    return made
