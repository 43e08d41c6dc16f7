"""Hold the Ray actors of one lane, and know which start, which are idle, and which number each busy actor works on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from manifests import retries
from pipeline.engine.cluster import say_on_stderr
from pipeline.engine.lane_actor import LaneActor
from pipeline.engine.lane_plan import LanePlan
from pipeline.engine.lane_sizes import Node, reserved_memory
from pipeline.engine.lane_states import LaneState
from pipeline.engine.ray_errors import WorkerDied, as_ola_error, unwrap_ray_error
from pipeline.errors import RunError, SetAside
from pipeline.monitoring.metrics import VALUES

GPU_FAULTS = 2  # parts in a row that a worker's GPU fails in, before the worker is taken out of the run
INIT_DEATHS = 8  # actors in a row that die before they are ready: a node may be lost while one starts on it
MEASURED = 16  # numbers that the cost of a lane is the mean of
LOOKS = 10  # that the share of busy actors is the mean of
FAREWELL = 10.0  # seconds that actors have to close their lanes


@dataclass(eq=False)
class PoolWorker:
    """One actor. number: the number it works on; leaving: whether the actor ends after that.

    expected: the number that it gets next, as it was told. gpu_faults: consecutive numbers that were set aside because
    of the actor's GPU.
    """

    handle: Any
    is_ready: bool = False
    number: int | None = None
    expected: int | None = None
    leaving: bool = False
    gpu_faults: int = 0


@dataclass(eq=False)
class ActorPool:
    """The actors of a lane, and their running calls."""

    lane: LanePlan
    workers: dict[Any, PoolWorker] = field(default_factory=dict)  # by their call under way
    resting: list[PoolWorker] = field(default_factory=list)
    broken: list[PoolWorker] = field(default_factory=list)  # actors that get no number: each holds a GPU that fails
    farewells: dict[Any, PoolWorker] = field(
        default_factory=dict
    )  # actors that end, by the call that closes their lane
    taken: deque[float] = field(default_factory=lambda: deque(maxlen=MEASURED))
    working: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS))  # shares of the actors, of late
    init_deaths: int = 0
    waiting_since: float = field(default_factory=time.monotonic)
    made: Any = None

    def __len__(self) -> int:
        """Return the number of actors that stay, with those whose GPU is broken: they occupy this GPU."""
        return sum(not worker.leaving for worker in self._all()) + len(self.broken)

    def _all(self) -> list[PoolWorker]:
        return [*self.workers.values(), *self.resting]

    @property
    def idle(self) -> int:
        """Return the number of idle actors."""
        return len(self.resting)

    @property
    def ready(self) -> int:
        """Return the number of actors that have started."""
        return sum(worker.is_ready for worker in self._all())

    @property
    def busy(self) -> int:
        """Return how many numbers are being processed."""
        return sum(worker.number is not None for worker in self.workers.values())

    @property
    def seconds(self) -> float:
        """Return the mean seconds of the last numbers; before there are any, the expected seconds; 0 if unknown."""
        return max(1e-3, sum(self.taken) / len(self.taken)) if self.taken else self.lane.seconds

    def look(self) -> None:
        """Record how many actors are busy."""
        if self.ready:
            self.working.append(min(1.0, self.busy / self.ready))

    def state(self) -> LaneState:
        """Return the present state of the lane."""
        busy = sum(self.working) / len(self.working) if self.working else 0.0
        rate = 60 * self.ready * busy / self.seconds if self.taken else 0.0
        return LaneState(self.lane.steps, self.ready, busy, rate)

    def waited(self) -> float:
        """Return the seconds since the lane last had a started actor."""
        return time.monotonic() - self.waiting_since

    def start(self, queue: deque[int], deaths: Mapping[int, int]) -> None:
        """Give a number of the queue to an idle actor, and tell it which number it gets next.

        deaths: number of actors that died, by the number that they processed.
        """
        worker = self.resting.pop()
        worker.number = self._next_for(worker, queue)
        queue.remove(worker.number)
        worker.expected = self._next_for(worker, queue) if queue else None
        call = worker.handle.work.remote(worker.number, deaths[worker.number] > 0, worker.expected)
        self.workers[call] = worker

    def _next_for(self, worker: PoolWorker, queue: deque[int]) -> int:
        """Return the number that the actor expects; else the first that no other actor expects; else the first."""
        if worker.expected in queue:
            return cast("int", worker.expected)
        others = {other.expected for other in self._all() if other is not worker}
        return next((number for number in queue if number not in others), queue[0])

    def finish(self, call: Any) -> SetAside | None:
        """Handle a call that has ended. Returns why its number was set aside, or None.

        Raises WorkerDied if the actor died, the OlaError that the lane raised, or RunError.
        """
        import ray

        worker = self.workers.pop(call)
        self.waiting_since = time.monotonic()
        lost = ray.exceptions
        try:
            answer = ray.get(call)
        except (lost.RayActorError, lost.NodeDiedError, lost.OutOfMemoryError, lost.WorkerCrashedError) as death:
            self._count_death(worker, death)
            raise WorkerDied(str(death)) from death
        except ray.exceptions.RayError as error:
            ray.kill(worker.handle)  # the error ends the map, and whoever keeps it must not keep the actor
            raise unwrap_ray_error(error) from error
        self.init_deaths, worker.is_ready = 0, True
        number, worker.number = worker.number, None
        aside: SetAside | None = answer[1] if number is not None else None
        self._release(worker, aside)
        if number is not None:
            self.taken.append(answer[0])
            VALUES.merge(answer[2])
            retries.tally.add(answer[3])
        return aside

    def _release(self, worker: PoolWorker, aside: SetAside | None) -> None:
        """Mark a worker as idle; end it if it leaves; remove it from the run if its GPU failed repeatedly.

        Raises RunError if no other worker of the lane is left.
        """
        worker.gpu_faults = worker.gpu_faults + 1 if aside is not None and aside.by_gpu else 0
        if worker.leaving:
            self._end(worker)
        elif aside is None or worker.gpu_faults < GPU_FAULTS:
            self.resting.append(worker)
        else:
            self.broken.append(worker)
            words = f"the GPU of a worker failed in {GPU_FAULTS} parts one after the other ({aside.reason})"
            if not any(not other.leaving for other in self._all()):
                raise RunError(f"{self.lane.name}: {words}, and no other worker is left")
            say_on_stderr(f"{self.lane.name}: {words}; it takes no more parts in this run")

    def _count_death(self, worker: PoolWorker, death: BaseException) -> None:
        if not worker.is_ready:
            self.init_deaths += 1
            if self.init_deaths >= INIT_DEATHS:
                raise RunError(
                    f"{as_ola_error(death)} ({INIT_DEATHS} workers in a row died as they started)"
                ) from death

    def resize(self, size: int, nodes: Sequence[Node]) -> None:
        """Start actors, or let actors leave after their current number, first those that have not started yet."""
        while len(self) < size:
            self._begin(nodes)
        staying = [worker for worker in self._all() if not worker.leaving]
        staying.sort(key=lambda worker: (worker.is_ready, worker.number is not None))
        for worker in staying[: max(0, len(self) - size)]:
            self._leave(worker)

    def stop_waiting(self) -> None:
        """End the actors that have not started, as there may be no room for them; at least one actor stays."""
        for worker in self._all() if self.ready else ():
            if not worker.is_ready:
                self._leave(worker)

    def give_up_one(self) -> None:
        """Let one started actor leave."""
        staying = [worker for worker in self._all() if worker.is_ready and not worker.leaving]
        for worker in sorted(staying, key=lambda worker: worker.number is not None)[:1]:
            self._leave(worker)

    def _begin(self, nodes: Sequence[Node]) -> None:
        import ray

        if self.made is None:
            self.made = ray.put(self.lane.make)
        lane = self.lane
        memory = reserved_memory(nodes, lane.memory, lane.cpus)
        actor = ray.remote(LaneActor).options(num_cpus=lane.cpus, num_gpus=lane.gpus, memory=memory or None)
        worker = PoolWorker(actor.remote(self.made, retries.patience()))
        self.workers[worker.handle.ready.remote()] = worker

    def _leave(self, worker: PoolWorker) -> None:
        worker.leaving = True
        if worker in self.resting:
            self.resting.remove(worker)
            self._end(worker)
        elif not worker.is_ready:
            self.workers = {call: other for call, other in self.workers.items() if other is not worker}
            self._end(worker)

    def _end(self, worker: PoolWorker) -> None:
        """Close the actor's lane, then end its process."""
        import ray

        if worker.is_ready:
            self.farewells[worker.handle.close.remote()] = worker
            worker.handle.__ray_terminate__.remote()
        else:
            ray.kill(worker.handle)

    def close(self, hurried: bool = False) -> None:
        """End all actors: idle actors close their lanes first. Busy actors are killed; if `hurried`, all actors are."""
        import ray

        killed, self.workers = [*self.workers.values(), *self.broken], {}
        if hurried:
            killed, self.resting = killed + self.resting, []
        while self.resting:
            self._end(self.resting.pop())
        if self.farewells and not hurried:
            ray.wait(list(self.farewells), num_returns=len(self.farewells), timeout=FAREWELL)
        for worker in [*killed, *self.farewells.values()]:
            ray.kill(worker.handle)
        self.farewells = {}
