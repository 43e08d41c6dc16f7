"""Engines call the lanes. A lane is an object that is called with a number, and closed at the end.

`inline` is a loop in this process; `ray` has a pool of actors per lane on a cluster (`pipeline.engine.scheduler`).
Results and failures are on disk, so an engine returns only the numbers that were set aside.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from manifests.snapshot import suspended
from pipeline.checkup.needs import NOTHING, Needs
from pipeline.checkup.nodes import check_nodes
from pipeline.checkup.upfront import check_here
from pipeline.engine.actor_pool import GPU_FAULTS
from pipeline.engine.cluster import Say, join_cluster, say_on_stderr, silence_stderr
from pipeline.engine.lane_plan import Lane, LanePlan
from pipeline.engine.lane_states import LaneState
from pipeline.engine.ray_errors import unwrap_ray_error
from pipeline.engine.scheduler import Scheduler
from pipeline.engine.signals import restore_handlers
from pipeline.errors import RunError, SetAside

STALE = 86400.0  # seconds: a younger one may be of a container that shares this folder, but not our process ids
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
FOLDER = "ola-ray"  # of a Ray of our own, then its driver's process id


class InlineEngine:
    """A loop in this process, for debuggers; Ray is not imported."""

    def map(self, lanes: Sequence[LanePlan], numbers: Sequence[int]) -> list[SetAside]:
        """Process every number by all lanes, in order. Return the numbers that were set aside."""
        if not numbers:
            return []
        with suspended():
            return self._map(lanes, numbers)

    def _map(self, lanes: Sequence[LanePlan], numbers: Sequence[int]) -> list[SetAside]:
        opened = [lane.make() for lane in lanes]
        aside: list[SetAside] = []
        gpu_faults = 0
        try:
            for number in numbers:
                fault = _set_aside(opened, number)
                aside += [fault] if fault is not None else []
                gpu_faults = gpu_faults + 1 if fault is not None and fault.by_gpu else 0
                if fault is not None and gpu_faults == GPU_FAULTS:
                    raise RunError(f"the GPU failed in {GPU_FAULTS} parts one after the other: {fault}")
        finally:
            for lane in opened:
                lane.close()
        return aside

    def join(self) -> None:
        """Do nothing: there is no cluster."""

    def check(self, root: str, inputs: Sequence[str], needs: Needs = NOTHING) -> None:
        """Raise NeedsUnmet unless this machine has what the steps need."""
        check_here(needs)

    def close(self) -> None:
        """Do nothing: there are no processes."""


def _set_aside(lanes: Sequence[Lane], number: int) -> SetAside | None:
    """Process a number by all lanes; return why it was set aside, or None."""
    try:
        for lane in lanes:
            lane(number)
    except SetAside as fault:
        return fault
    return None


class RayEngine:
    """Pools of actors on Ray: the one of this process, that of `address` or RAY_ADDRESS, or a private one.

    A private Ray has its own folder, so that no other process finds it. It starts with the first `map` and ends with
    `close`.
    """

    def __init__(self, workers: int | Mapping[str, int] = 0, address: str = "") -> None:
        """workers: actors of each lane, or of each lane with the named steps; 0: the engine decides."""
        self.workers, self.address = workers, address or os.environ.get("RAY_ADDRESS", "")
        self.folder: str | None = None
        self.joined = False  # whether this engine brought the process into a cluster
        self.say: Say = say_on_stderr
        self.report: Callable[[Sequence[LaneState]], None] = lambda states: None  # is told what the lanes do now

    def map(self, lanes: Sequence[LanePlan], numbers: Sequence[int]) -> list[SetAside]:
        """Process every number by all lanes, in order. Return the numbers that were set aside.

        Raises the OlaError that a lane raised, or RunError with Ray's message.
        """
        if not numbers:
            return []
        self.connect()
        import ray

        fitted, requested = [self._limit_cpus(lane) for lane in lanes], [self._requested_actors(lane) for lane in lanes]
        scheduler = Scheduler(fitted, numbers, requested, self.report)
        try:
            with suspended():
                return scheduler.run()
        except ray.exceptions.RayError as error:
            raise unwrap_ray_error(error) from error
        finally:
            scheduler.close(hurried=isinstance(sys.exc_info()[1], KeyboardInterrupt))

    def _requested_actors(self, lane: LanePlan) -> int:
        """Return the number of actors that the user wants for a lane; 0 if the engine decides."""
        if isinstance(self.workers, int):
            return self.workers
        return max((self.workers.get(step, 0) for step in lane.steps), default=0)

    def kind_of_ranks(self, ranks: int) -> str:
        """Return "GPU" if the cluster has GPUs, else "CPU".

        Raises RunError if a single machine has fewer than are requested: Ray would wait for ever. A cluster may grow.
        """
        import ray

        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        kind = "GPU" if have.get("GPU") else "CPU"
        if self.folder is not None and ranks > have.get(kind, 0):
            raise RunError(f"{ranks} workers, and this machine has {have.get(kind, 0):g} {kind}s: name a cluster")
        return kind

    def _limit_cpus(self, lane: LanePlan) -> LanePlan:
        """Limit the CPUs of a lane to those of a single machine, since Ray would wait for more. A cluster may grow."""
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
        """Disconnect from the cluster, or stop the private Ray and delete its folder."""
        if self.folder is not None or self.joined:
            import ray

            ray.shutdown()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder, self.joined = None, False

    def join(self) -> None:
        """Connect to the named cluster, if any; a private Ray starts with the first `map`. Raises ConfigError."""
        if self.address:
            self.connect()

    def check(self, root: str, inputs: Sequence[str], needs: Needs = NOTHING) -> None:
        """Have each node of the cluster check the root, the first inputs and the needs of the steps.

        A private Ray checks this machine. Raises ConfigError, or NeedsUnmet.
        """
        import ray

        if ray.is_initialized() and self.folder is None:
            check_nodes(root, inputs, self.say, needs)
        else:
            check_here(needs)

    def connect(self) -> None:
        """Connect to Ray: the one of this process, the named cluster, or a new private one. Raises ConfigError."""
        import ray

        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of its own future
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else of actors that it restarts, on the terminal
        if self.address and self.address != "local":
            join_cluster(self.address, self.say, **QUIET)
            self.joined = True
        else:
            self._start()

    def _start(self) -> None:
        """Start a private Ray."""
        import ray

        # Ray would kill a whole worker where memory runs out, and its record would be blamed; the kernel kills the
        # step's process first, which its worker can tell from a fault of the record
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        os.environ.setdefault("RAY_worker_oom_score_adjustment", "500")  # the step's process has 1000
        remove_ray_folders()
        self.folder = tempfile.mkdtemp(prefix=f"{FOLDER}-{os.getpid()}-")
        with (
            restore_handlers(),
            separate_process_groups(),
            silence_stderr(),
        ):  # it says that it has read the lines above
            ray.init(address="local", include_dashboard=False, _temp_dir=self.folder, **QUIET)


@contextmanager
def separate_process_groups() -> Iterator[None]:
    """Have Ray's processes begin process groups, so that a signal to the driver's group reaches the driver alone.

    The driver then shuts Ray down. `timeout` sends such signals. If the driver is killed, Ray's processes still end.
    """
    from ray._private import services, utils

    plain = services.ConsolePopen
    module: Any = services
    if utils.detect_fate_sharing_support():  # type: ignore[no-untyped-call]
        module.ConsolePopen = partial(plain, process_group=0)
    try:
        yield
    finally:
        module.ConsolePopen = plain


def remove_ray_folders() -> None:
    """Delete the logs and sockets of the private Rays of killed runs, some MB each."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}-*"):
        with suppress(ValueError, OSError):  # not one of ours, or somebody was faster
            pid, age = int(path.name.split("-")[2]), time.time() - path.stat().st_mtime
            if age > STALE and not psutil.pid_exists(pid):
                shutil.rmtree(path)


def remove_own_ray_folder() -> None:
    """Delete the folder of this process's private Ray."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}-{os.getpid()}-*"):
        shutil.rmtree(path, ignore_errors=True)
