"""A run of toy steps in a process of its own, for tests that kill it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.plan import Plan
from tests.toys import MB, Crack, Film, Polish, Serial, Take, Toy, Traced, apply, planned, traced

STEPS: Mapping[str, type[Toy]] = {"take": Take, "crack": Crack, "polish": Polish, "film": Film, "serial": Serial}
CODE = "import sys, tests.toy_driver; tests.toy_driver.main(*sys.argv[1:])"
CHAIN = ("take", "crack", "polish")


def main(root: str, engine: str, *names: str) -> None:
    """A run of the chain, or of the steps named, over 60 sources in 6 parts; one of them kills its sandbox.

    engine: `inline`, `ray` (of its own), or `nodes`: two nodes with two CPUs each, of which one is lost in the middle.
    """
    settings = Traced(trace=f"{root}/trace", pause=0.01)
    steps = [STEPS[name](settings) for name in names or CHAIN]
    deeds = ["exit" if n == 17 else "ok" for n in range(60)]
    made, parts = planned(Path(root), steps, deeds, per_part=10)
    os.write(1, b"ready\n")
    if engine == "nodes":
        lose_a_node(made, parts, settings.trace)
    else:
        apply(made, parts, RayEngine(workers=1) if engine == "ray" else InlineEngine())


def lose_a_node(made: Plan, parts: Sequence[int], trace: str) -> None:
    """Apply the plan on a cluster whose second node dies 20 records on."""
    import ray
    from ray.cluster_utils import Cluster

    soon = {"health_check_period_ms": 500, "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 0}
    small: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 80 * MB, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "_system_config": soon})
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)  # on the head, as long as it is
    node = cluster.add_node(**small)  # alone
    before = traced(Path(trace)).total()

    def lose() -> None:
        while traced(Path(trace)).total() < before + 20:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        os.write(1, f"lost a node after {traced(Path(trace)).total() - before} records\n".encode())

    loser = threading.Thread(target=lose)
    loser.start()
    apply(made, parts, RayEngine())
    loser.join()
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


def command(root: Path, engine: str, *names: str) -> list[str]:
    """What starts `main` in a process of its own."""
    return [sys.executable, "-c", CODE, str(root), engine, *names]
