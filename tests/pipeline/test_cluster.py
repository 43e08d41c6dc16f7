"""Lanes on clusters whose nodes join and leave: every number is processed once and nothing hangs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.engine import actor_pool, lane_states, scheduler
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane_plan import Lane, LanePlan
from pipeline.engine.lane_sizes import Demand, Node, pool_sizes, reserved_memory
from pipeline.engine.lane_states import LaneState
from pipeline.errors import ConfigError, RunError
from pipeline.run import lanes
from tests import toy_cluster, toys
from tests.runs import copy_of, finished, ola
from tests.test_project import ROOT
from tests.toys import BadLane

BIG = [Node(16, 2)]


def demand(seconds: float, gpus: float = 0.0, left: int = 1000, cpus: float = 1.0, fixed: int = 0) -> Demand:
    return Demand(cpus, gpus, seconds, left, fixed)


def scene(name: str, folder: Path) -> list[list[str]]:
    """The lines of a scene: lane, number, node."""
    ended = subprocess.run(
        toy_cluster.command(name, folder), cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert "done\n" in ended.stdout, ended.stdout + ended.stderr  # Ray says of nodes that are lost what it likes
    return [line.split() for line in (folder / "trace").read_text().splitlines()]


def test_nodes_that_join_are_used_and_lanes_take_turns_until_then(tmp_path: Path) -> None:
    lines = scene("joined", tmp_path)
    assert Counter((lane, number) for lane, number, _ in lines) == Counter(
        (f"lane{lane}", str(number)) for lane in range(2) for number in range(100)
    )
    assert len({node for _, _, node in lines}) == 2


def test_the_only_actor_of_a_lane_is_lost_with_its_node_again_and_again(tmp_path: Path) -> None:
    lines = scene("lost", tmp_path)
    assert {(lane, number) for lane, number, _ in lines} == {
        (f"lane{lane}", str(number)) for lane in range(3) for number in range(30)
    }
    assert len({node for lane, _, node in lines if lane == "lane1"}) > toy_cluster.LOSSES // 2


def test_what_no_node_has_is_said_after_a_while(ray_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "NO_NODE", 0.5)
    monkeypatch.setattr(scheduler, "REPLAN", 0.2)
    with pytest.raises(RunError, match=r"^caption: expected a node with 1 CPUs and 8 GPUs for a worker, got for"):
        RayEngine().map([LanePlan(partial(BadLane), gpus=8.0, steps=("caption",))], [0])


class WhatIsSeen(Lane):
    """Writes which GPUs its process may see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> None:
        (self.folder / f"{number}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))


def test_a_worker_without_a_share_sees_no_gpu(ray_here: None, tmp_path: Path) -> None:
    RayEngine().map([LanePlan(partial(WhatIsSeen, tmp_path))], [0])
    assert (tmp_path / "0").read_text() == ""


def test_sizes_follow_from_costs() -> None:
    assert pool_sizes([demand(1.0), demand(0.1, gpus=1)], BIG) == [14, 2]
    assert pool_sizes([demand(1.0), demand(0.1, gpus=1), demand(1.0)], BIG) == [7, 2, 7]
    assert pool_sizes([demand(0.17), demand(0.21)], BIG) == [7, 9]
    assert pool_sizes([demand(1.0), demand(0.01)], BIG) == [15, 1]


def test_lanes_that_are_fast_enough_for_the_gpus_grow_no_further() -> None:
    assert pool_sizes([demand(0.1), demand(1.0, gpus=1)], BIG) == [1, 2]
    assert pool_sizes([demand(1.0), demand(1.0, gpus=1)], BIG) == [3, 2]


def test_no_lane_goes_without_and_none_has_more_actors_than_numbers() -> None:
    assert pool_sizes([demand(1.0), demand(1.0), demand(1.0)], [Node(1)]) == [1, 1, 1]
    assert pool_sizes([demand(1.0, left=3)], BIG) == [3]
    assert pool_sizes([demand(1.0, fixed=20)], BIG) == [20]
    assert pool_sizes([demand(1.0, fixed=2), demand(1.0)], BIG) == [2, 14]


def test_an_actor_fits_on_one_node() -> None:
    assert pool_sizes([demand(1.0, cpus=4.0)], [Node(6), Node(6)]) == [2]
    assert pool_sizes([demand(1.0, gpus=1, cpus=4.0)], [Node(8, 4), Node(64)]) == [2]


def test_memory_that_is_reserved_is_there() -> None:
    assert reserved_memory([Node(10, memory=100e9)], wanted=4e9, cpus=1.0) == 4e9
    assert reserved_memory([Node(10, memory=100e9)], wanted=64e9, cpus=1.0) == 8e9
    assert reserved_memory([], wanted=64e9, cpus=1.0) == 0


def test_workers_may_be_a_number_a_step() -> None:
    engine = RayEngine({"extract": 64})
    assert engine._requested_actors(LanePlan(BadLane, steps=("split", "extract"))) == 64
    assert engine._requested_actors(LanePlan(BadLane, steps=("caption",))) == 0
    assert load(None, ["workers={extract: 64}"]).workers == {"extract": 64}
    for value, said in (
        ("{extracts: 1}", "no step 'extracts'"),
        ("-1", r"^workers: expected a number from 0.*, got -1$"),
    ):
        with pytest.raises(ConfigError, match=said):
            load(None, [f"workers={value}"])


def test_lanes_know_what_their_steps_have_cost(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [toys.Take(), toys.Crack()], ["ok"] * 4, per_part=2)
    assert [lane.seconds for lane in lanes(plan.steps, isolate=False)] == [0.0, 0.0]
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    made = lanes(plan.steps, isolate=False)
    assert [lane.steps for lane in made] == [("take",), ("crack",)]
    for lane, planned in zip(made, plan.steps, strict=True):
        assert lane.seconds == pytest.approx(planned.manifest.total().seconds / len(parts))


def test_what_lanes_do_is_shown_while_they_do_it(
    tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(finished(), tmp_path)
    monkeypatch.setattr(scheduler, "REPORT", 0.0)
    monkeypatch.setattr(scheduler, "REPLAN", 0.1)
    engine, said = RayEngine(), []

    def report(states: Sequence[LaneState]) -> None:
        lane_states.write(str(root), states)
        said.append(ola("status", root).out)

    engine.report = report
    lane = LanePlan(partial(toy_cluster.Tracing, "lane", str(tmp_path / "trace"), 0.2), steps=("split", "extract"))
    engine.map([lane], range(10))
    assert re.search(r"^split, extract: 2 actors, \d+% busy, \d+\.\d parts a minute$", said[-1], re.MULTILINE), said
    (lane_state,) = json.loads(ola("status", root, "--json").out)["lanes"]
    assert lane_state["steps"] == ["split", "extract"]
    monkeypatch.setattr(lane_states, "OLD", 0.0)
    assert "busy" not in ola("status", root).out


def test_a_lane_that_cannot_be_made_ends_the_run_with_its_words(
    ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_pool, "INIT_DEATHS", 2)
    with pytest.raises(RunError, match=r"only in one process \(2 workers in a row died as they started\)$"):
        RayEngine().map([LanePlan(toys.refuse)], [0, 1])  # type: ignore[arg-type]


def test_no_actor_is_left_however_a_map_ends(ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds also while the caller keeps the error with its traceback."""
    import ray

    monkeypatch.setattr(scheduler, "REPLAN", 0.1)
    sleeping = LanePlan(partial(toy_cluster.Tracing, "lane", str(tmp_path / "trace"), 0.1))
    RayEngine().map([sleeping, sleeping], range(6))
    with pytest.raises(RunError) as kept:
        RayEngine().map([sleeping, LanePlan(BadLane)], range(6))
    assert kept.value.__traceback__ is not None
    end = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < end:  # type: ignore[no-untyped-call]
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2  # type: ignore[no-untyped-call]
