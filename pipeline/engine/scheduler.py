"""Assign numbers to the actors of all lanes on Ray, replace dead actors, and resize the lanes.

A lane is a pool of actors with a queue of numbers. The scheduler gives a number to each idle actor, moves it to the
next lane when it is done, and gives it to another actor if its actor died. It repeatedly sizes the pools by the
measured costs of the lanes (`pipeline.engine.lane_sizes`), since nodes join and leave.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.engine.actor_pool import ActorPool
from pipeline.engine.lane_plan import LanePlan
from pipeline.engine.lane_sizes import Demand, Node, fits_some_node, pool_sizes
from pipeline.engine.lane_states import LaneState
from pipeline.engine.ray_errors import WorkerDied
from pipeline.errors import RunError, SetAside

REPORT = 10.0  # seconds between reports of what the lanes do
REPLAN = 2.0  # seconds between looks at costs and nodes
GAIN = 1.15  # times faster that a new plan must be before pools change: an actor opens its steps anew
STARVED = 10.0  # seconds a lane waits for its first actor before another lane gives one up
NO_NODE = 600.0  # seconds that a cluster has to bring a node that can hold an actor


class Scheduler:
    """Processes numbers by all lanes, once. `close` must be called in any case."""

    def __init__(
        self,
        lanes: Sequence[LanePlan],
        numbers: Sequence[int],
        workers: Sequence[int],
        report: Callable[[Sequence[LaneState]], None] = lambda states: None,
    ) -> None:
        """workers: the number of actors that the user requested per lane; 0: the scheduler decides.

        report: called every REPORT seconds with the states of the lanes.
        """
        self.pools = [ActorPool(lane) for lane in lanes]
        self.queues = [deque[int]() for _ in lanes]
        self.queues[0].extend(numbers)
        self.fixed, self.open = workers, len(numbers)
        self.aside: list[SetAside] = []
        self.deaths = [Counter[int]() for _ in lanes]
        self.planned, self.nodes = 0.0, list[Node]()
        self.report, self.reported = report, time.monotonic()

    def run(self) -> list[SetAside]:
        """Process every number by all lanes. Return the numbers set aside. Raises a lane's OlaError, or RunError."""
        while self.open:
            if time.monotonic() - self.planned > REPLAN:
                self._plan()
            self._hand_out()
            self._collect()
        return sorted(self.aside, key=lambda fault: fault.part)

    def close(self, hurried: bool = False) -> None:
        """End all actors. hurried: kill idle actors, too, without closing their lanes."""
        for pool in self.pools:
            pool.close(hurried)

    def _hand_out(self) -> None:
        for pool, queue, deaths in zip(self.pools, self.queues, self.deaths, strict=True):
            while queue and pool.idle:
                pool.start(queue, deaths)

    def _collect(self) -> None:
        """Wait until a call ends or the next resizing is due; then handle all ended calls."""
        import ray

        calls = {call: lane for lane, pool in enumerate(self.pools) for call in pool.workers}
        if not calls:
            time.sleep(0.1)
            return
        done, _ = ray.wait(list(calls), num_returns=1, timeout=REPLAN)
        if done:
            done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in done:
            self._finish(calls[call], call)

    def _finish(self, lane: int, call: Any) -> None:
        number = self.pools[lane].workers[call].number
        try:
            fault = self.pools[lane].finish(call)
        except WorkerDied as death:
            self._replace_actor(lane, number, death)
            return
        if number is None:
            return
        if fault is not None:
            self.aside.append(fault)
        if fault is not None or lane + 1 == len(self.pools):
            self.open -= 1
        else:
            self.queues[lane + 1].append(number)

    def _replace_actor(self, lane: int, number: int | None, death: BaseException) -> None:
        """Give the number of a dead actor to another actor, unless too many actors died while they processed it."""
        self.planned = 0.0
        if number is None:
            return
        retries = self.pools[lane].lane.retries
        self.deaths[lane][number] += 1
        if 0 <= retries < self.deaths[lane][number]:
            raise RunError(f"a worker failed: it died {retries + 1} times over number {number}") from death
        self.queues[lane].appendleft(number)

    def _plan(self) -> None:
        before, self.nodes = self.nodes, alive_nodes()
        self.planned, demands = time.monotonic(), self._demands()
        self._check_nodes(demands)
        target_sizes = self._sizes(demands)
        if before != self.nodes or self._is_faster(target_sizes, demands):
            for pool, size in zip(self.pools, target_sizes, strict=True):
                pool.resize(size, self.nodes)
        self._make_room()
        for pool in self.pools:
            pool.look()
        if time.monotonic() - self.reported > REPORT:
            self.reported = time.monotonic()
            self.report([pool.state() for pool in self.pools if len(pool)])

    def _demands(self) -> list[Demand]:
        """Return the demand of each lane. A lane without measurements gets the mean cost of the others."""
        known = [pool.seconds for pool in self.pools if pool.seconds]
        guess, left, demands = sum(known) / len(known) if known else 1.0, 0, []
        for pool, queue, fixed in zip(self.pools, self.queues, self.fixed, strict=True):
            left += len(queue) + pool.busy
            demands.append(Demand(pool.lane.cpus, pool.lane.gpus, pool.seconds or guess, left, fixed))
        return demands

    def _sizes(self, demands: Sequence[Demand]) -> list[int]:
        """Return the number of actors of each lane for these demands; 0 for a lane without work."""
        busy = [lane for lane, demand in enumerate(demands) if demand.left]
        planned = dict(zip(busy, pool_sizes([demands[lane] for lane in busy], self.nodes), strict=True))
        target_sizes = [planned.get(lane, 0) for lane in range(len(demands))]
        for lane in busy:  # weights take a minute to load: a GPU lane does not shrink for a new plan
            if demands[lane].gpus:
                target_sizes[lane] = max(target_sizes[lane], self.pools[lane].ready)
        return target_sizes

    def _is_faster(self, target_sizes: Sequence[int], demands: Sequence[Demand]) -> bool:
        """Return whether new sizes gain enough; True if a lane has work and no actor, or actors and no work left."""
        now = [len(pool) for pool in self.pools]
        if any((size == 0) != (have == 0) for size, have in zip(target_sizes, now, strict=True)):
            return True
        slowest = [max(d.load(n) for d, n in zip(demands, counts, strict=True) if n) for counts in (now, target_sizes)]
        return slowest[0] >= GAIN * slowest[1]

    def _check_nodes(self, demands: Sequence[Demand]) -> None:
        """Raise RunError if no node has been large enough for an actor of some lane for NO_NODE seconds."""
        for pool, demand in zip(self.pools, demands, strict=True):
            absent = demand.left and not pool.ready and not fits_some_node(self.nodes, demand.cpus, demand.gpus)
            if absent and pool.waited() > NO_NODE:
                have = ", ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in self.nodes) or "none"
                raise RunError(
                    f"{pool.lane.name}: expected a node with {demand.cpus:g} CPUs and {demand.gpus:g} GPUs "
                    f"for a worker, got for {NO_NODE:.0f} s: {have}; lower resources.<step>, or add nodes"
                )

    def _make_room(self) -> None:
        """End an actor of another lane if a lane waits for its first actor and there is no other room."""
        for pool, queue in zip(self.pools, self.queues, strict=True):
            if queue and not pool.ready and pool.waited() > STARVED:
                givers = [other for other in self.pools if other is not pool and other.ready]
                givers = [other for other in givers if not other.lane.gpus or pool.lane.gpus]
                for other in givers:  # what they wait for would take what one of them gives up
                    other.stop_waiting()
                for giver in sorted(givers, key=lambda other: -other.ready)[:1]:
                    giver.give_up_one()
                pool.waiting_since = time.monotonic()


def alive_nodes() -> list[Node]:
    """Return the nodes of the cluster with their total resources."""
    import ray

    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    have = [node["Resources"] for node in found if node["Alive"]]
    return [Node(each.get("CPU", 0.0), each.get("GPU", 0.0), each.get("memory", 0.0)) for each in have]
