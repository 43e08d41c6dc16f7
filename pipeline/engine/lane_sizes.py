"""Compute the number of actors of each lane from the cost of the lanes and the size of the cluster.

GPU lanes take all GPUs. The other lanes share the remaining CPUs so that all need about the same time per number, since
the slowest lane limits the throughput. Each lane gets at least one actor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROOM = 0.8  # of a node's memory that lanes reserve: pieces that are left fit nobody
AHEAD = 0.8  # of a GPU lane's time a number that the CPU lanes should need, so that no GPU waits


@dataclass(frozen=True)
class Node:
    """The total resources of a cluster's node. memory: bytes."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True)
class Demand:
    """The resources of one actor of a lane, and the lane's remaining work.

    seconds: per number, measured or estimated. left: numbers that the lane still has to process. fixed: number of
    actors that the user requested; 0: the engine decides.
    """

    cpus: float
    gpus: float
    seconds: float
    left: int
    fixed: int = 0

    @property
    def most(self) -> int:
        """Return the largest useful number of actors, or the number that the user requested."""
        return max(1, min(self.left, self.fixed or self.left))

    def load(self, actors: int) -> float:
        """Return the seconds per number with so many actors."""
        return self.seconds / actors


def fits_some_node(nodes: Sequence[Node], cpus: float, gpus: float) -> bool:
    """Return whether some empty node has room for an actor."""
    return any(node.cpus >= cpus and node.gpus >= gpus for node in nodes)


def reserved_memory(nodes: Sequence[Node], wanted: float, cpus: float) -> int:
    """Return the bytes that an actor reserves: `wanted`, but at most the share of its CPUs in each node's memory.

    Ray would wait for more for ever, and actors seldom reach their limits at the same time.
    """
    shares = [ROOM * node.memory * min(1.0, max(cpus, 0.01) / node.cpus) for node in nodes if node.cpus]
    return int(min(wanted, min(shares, default=0.0)))


def pool_sizes(demands: Sequence[Demand], nodes: Sequence[Node]) -> list[int]:
    """Return the number of actors of each lane on a cluster of these nodes."""
    room, actors = _Room(nodes), [1] * len(demands)
    for demand in demands:  # one of each, whatever there is: lanes take turns where they must
        room.take(demand)
    on_gpus = [lane for lane, demand in enumerate(demands) if demand.gpus]
    on_cpus = [lane for lane, demand in enumerate(demands) if not demand.gpus]
    _grow(on_gpus, demands, actors, room, fast_enough=0.0)
    _grow(on_cpus, demands, actors, room, max((AHEAD * demands[n].load(actors[n]) for n in on_gpus), default=0.0))
    return actors


def _grow(lanes: Sequence[int], demands: Sequence[Demand], actors: list[int], room: _Room, fast_enough: float) -> None:
    """Add actors to the slowest of these lanes as long as there is room.

    fast_enough: seconds per number below which a lane needs no more actors.
    """
    growing = set(lanes)
    while growing:
        lane = max(growing, key=lambda n: (demands[n].load(actors[n]), -n))
        demand = demands[lane]
        if actors[lane] >= demand.most or (not demand.fixed and demand.load(actors[lane]) <= fast_enough):
            growing.remove(lane)
        elif room.take(demand) or demand.fixed:  # Ray may find room for what was asked for later
            actors[lane] += 1
        else:
            growing.remove(lane)
            fast_enough = max(fast_enough, AHEAD * demand.load(actors[lane]))


class _Room:
    """The free resources of the nodes."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.free = [[node.cpus, node.gpus] for node in nodes]

    def take(self, demand: Demand) -> bool:
        """Place one actor on the node with the most free CPUs. Return False if no node has room."""
        fitting = [free for free in self.free if free[0] >= demand.cpus - 1e-9 and free[1] >= demand.gpus - 1e-9]
        if not fitting or demand.cpus + demand.gpus == 0:
            return False
        free = min(fitting, key=lambda free: (free[1] > demand.gpus, -free[0]))  # GPU nodes are for GPU lanes
        free[0] -= demand.cpus
        free[1] -= demand.gpus
        return True
