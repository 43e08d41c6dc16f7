"""Engines: who calls the lanes. A lane is anything that is called with a number and closed in the end.

`inline` is a loop in this process; `ray` is one Ray Data graph whose rows are the numbers, with a pool of actors a
lane: overlap of lanes, back-pressure and fractional GPUs are Ray Data's. What is done and what failed is on disk; an
engine returns what the lanes set aside. Any other error of a lane ends the map.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from pipeline.attempts import Attempts, begin
from pipeline.errors import OlaError, RunError, SetAside
from pipeline.local_ray import FOLDER, hushed, remove_folders


class Lane(Protocol):
    """Takes numbers (of parts, of shards) and does what there is to do for each."""

    def __call__(self, number: int, /) -> None:
        """Do it. Raises SetAside if later lanes should skip this number, and all other numbers go on."""

    def close(self) -> None:
        """Let go of processes and files."""


@runtime_checkable
class Placed(Protocol):
    """A lane that asks whether the node of an earlier worker is lost."""

    def place(self, node: str, lost: Callable[[str], bool], /) -> None:
        """Take the id of this worker's node, and a function that tells of any node whether it is lost."""


@dataclass(frozen=True)
class LanePlan:
    """How to make a lane, and what one of it may use. `make` and its result must be picklable for Ray.

    memory: bytes that one worker reserves on a cluster, 0 for none.
    retries: how often a number is given to a new worker after the death of the one before; -1: without end, for a
    lane that counts deaths itself.
    """

    make: Callable[[], Lane]
    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0
    retries: int = 3


class Inline:
    """A loop in this process: no Ray is imported, and a debugger works."""

    def map(self, lanes: Sequence[LanePlan], numbers: Sequence[int]) -> list[SetAside]:
        """Bring every number through all lanes, one after the other. Return what the lanes set aside."""
        made = [lane.make() for lane in lanes]
        aside = []
        try:
            for number in numbers:
                try:
                    for lane in made:
                        lane(number)
                except SetAside as error:
                    aside.append(error)
        finally:
            for lane in made:
                lane.close()
        return aside

    def close(self) -> None:
        """Nothing is held."""


class LaneActor:
    """A lane inside a Ray actor. A row is `{"number", "step", "reason", "detail"}`: empty, or why it is set aside."""

    def __init__(self, make: Callable[[], Lane], retries: int, attempts: Any) -> None:
        """Make the lane in the actor's own process. `attempts`: an actor of `Attempts`, None if `retries` is -1."""
        import ray

        self.lane, self.retries, self.attempts = make(), retries, attempts
        if isinstance(self.lane, Placed):
            self.lane.place(ray.get_runtime_context().get_node_id(), is_lost)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the number, unless it is set aside, and pass it on."""
        if row["reason"]:
            return row
        try:
            if self.retries >= 0:
                begin(self.attempts, int(row["number"]), self.retries)
            self.lane(int(row["number"]))
        except SetAside as error:
            return {**row, "step": error.step, "reason": error.reason, "detail": error.detail}
        except Exception as error:
            raise Carried(ours(error)) from error
        return row


def is_lost(node: str) -> bool:
    """Whether a node of this cluster is dead, or not known any more."""
    import ray

    return not any(facts["NodeID"] == node and facts["Alive"] for facts in ray.nodes())  # type: ignore[no-untyped-call]


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
        """Bring every number through all lanes. Return what the lanes set aside.

        Raises the OlaError that a lane raised, or RunError with Ray's words.
        """
        if not numbers:
            return []
        self.connect()
        import ray

        lanes = [self._fitted(lane) for lane in lanes]
        size = min(len(numbers), self.workers or _fitting(lanes, with_memory=self.folder is None))
        try:
            rows = list(_graph(_reserved(lanes, size), numbers, size).iter_rows())
        except ray.exceptions.RayError as error:
            raise original(error) from error
        return [SetAside(row["number"], row["step"], row["reason"], row["detail"]) for row in rows if row["reason"]]

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
                # Ray would kill whole workers where memory runs out, and nobody could tell why they died. The kernel
                # kills the process of a step first, which its worker can tell.
                os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
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


def _fitting(lanes: Sequence[LanePlan], with_memory: bool) -> int:
    """How many of each lane the cluster holds at once.

    with_memory: by their limits on memory too. On one machine most steps stay far below their limits, and counting
    those would leave CPUs idle.
    """
    import ray

    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    wants = {"CPU": sum(lane.cpus for lane in lanes), "GPU": sum(lane.gpus for lane in lanes)}
    if with_memory:
        wants["memory"] = sum(lane.memory for lane in lanes)
    return max(1, min((int(have.get(kind, 0) / many) for kind, many in wants.items() if many), default=1))


def _reserved(lanes: Sequence[LanePlan], size: int) -> list[LanePlan]:
    """The lanes with the memory that `size` workers of each can reserve.

    For a worker that fits nowhere Ray waits for ever. A step's limit may well be more than any machine has (64 GB by
    default for those that ask a model, and a small model needs 1 GB), so a lane reserves no more than the largest
    node has, and all workers together no more than the cluster has.
    """
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    have = [node["Resources"].get("memory", 0.0) for node in nodes if node["Alive"]]
    wanted = size * sum(lane.memory for lane in lanes)
    share = min(1.0, sum(have) / wanted) if wanted else 1.0
    return [replace(lane, memory=int(min(lane.memory * share, max(have)))) for lane in lanes]


def _graph(lanes: Sequence[LanePlan], numbers: Sequence[int], size: int) -> Any:
    import ray.data
    from ray.data import ActorPoolStrategy

    items = [{"number": number, "step": "", "reason": "", "detail": ""} for number in numbers]
    rows: Any = ray.data.from_items(items, override_num_blocks=len(numbers))
    for lane in lanes:
        counter = ray.remote(num_cpus=0)(Attempts).remote() if lane.retries >= 0 else None
        # a second number that waits at an actor saves it the 0.1 s until Ray Data hands out the next one; where there
        # are few, it would leave others idle at the end
        pool = ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2 if len(numbers) > 8 * size else 1)
        rows = rows.map(
            LaneActor,
            fn_constructor_args=(lane.make, lane.retries, counter),
            compute=pool,
            num_cpus=lane.cpus,
            num_gpus=lane.gpus,
            memory=lane.memory or None,
        )
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
