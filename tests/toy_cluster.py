"""Lanes on a cluster of fake nodes, in a process of its own; nodes join and leave meanwhile.

python -c "from tests.toy_cluster import main; main('joined', folder)" writes `done`, and what was asked for is in the
file `trace`: a line `lane number node` for each number.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.engine.engines import RayEngine
from pipeline.engine.lane_plan import Lane, LanePlan
from tests.toys import MB

CODE = "import sys, tests.toy_cluster; tests.toy_cluster.main(*sys.argv[1:])"
SMALL: dict[str, Any] = {"object_store_memory": 80 * MB, "include_dashboard": False}
SOON = {"health_check_period_ms": 500, "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 0}
LOSSES = 5


class Tracing(Lane):
    """A lane that sleeps, and writes down what it did where."""

    def __init__(self, name: str, trace: str, seconds: float) -> None:
        self.name, self.trace, self.seconds = name, trace, seconds

    def __call__(self, number: int) -> None:
        import ray

        time.sleep(self.seconds)
        with open(self.trace, "a", encoding="utf-8") as file:
            file.write(f"{self.name} {number} {ray.get_runtime_context().get_node_id()}\n")


def lanes(trace: str, *wants: Mapping[str, Any], seconds: float) -> list[LanePlan]:
    return [LanePlan(partial(Tracing, f"lane{n}", trace, seconds), **want) for n, want in enumerate(wants)]


def done(trace: str) -> list[str]:
    path = Path(trace)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def cluster_of(cpus: int) -> Any:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "num_cpus": cpus, "_system_config": SOON})
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    return cluster


@contextmanager
def mapping(plans: Sequence[LanePlan], numbers: int) -> Iterator[None]:
    """Numbers go through lanes in a thread of their own: Ray adds nodes in the main thread only."""
    with ThreadPoolExecutor(1) as pool:
        mapped = pool.submit(RayEngine().map, plans, range(numbers))
        yield
        mapped.result()


def wait_for(lane: str, numbers: int, trace: str) -> None:
    while sum(line.startswith(lane) for line in done(trace)) < numbers:
        time.sleep(0.05)


def joined(trace: str) -> None:
    """One CPU for two lanes, which must take turns; then a node with four more."""
    cluster = cluster_of(1)
    with mapping(lanes(trace, {}, {}, seconds=0.2), 100):
        wait_for("lane1", 1, trace)
        cluster.add_node(**SMALL, num_cpus=4)


def lost(trace: str) -> None:
    """The only node with a GPU is lost again and again, with the only actor of its lane."""
    cluster = cluster_of(2)
    with mapping(lanes(trace, {}, {"gpus": 1.0, "retries": -1}, {"retries": -1}, seconds=0.1), 30):
        for loss in range(LOSSES):
            node = cluster.add_node(**SMALL, num_cpus=1, num_gpus=1)
            wait_for("lane1", 2 * (loss + 1), trace)
            cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(**SMALL, num_cpus=1, num_gpus=1)


SCENES: Mapping[str, Callable[[str], None]] = {"joined": joined, "lost": lost}


def main(scene: str, folder: str) -> None:
    SCENES[scene](f"{folder}/trace")
    os.write(1, b"done\n")


def command(scene: str, folder: Path) -> Sequence[str]:
    return [sys.executable, "-c", CODE, scene, str(folder)]
