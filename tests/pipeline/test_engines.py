"""Both engines stop a run at once, with the original error message."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.engine.ray_errors import TransportedError, as_ola_error, unwrap_ray_error
from pipeline.errors import ConfigError, OpenFailed, RunError
from pipeline.run import lanes, pending
from tests import toy_driver, toys
from tests.test_project import ROOT
from tests.toys import BadLane, Shut, Take


def test_a_step_that_cannot_open_ends_the_run_at_once(tmp_path: Path, engine: InlineEngine | RayEngine) -> None:
    plan, parts = toys.planned(tmp_path, [Shut()], ["ok"] * 200, per_part=2)
    began = time.monotonic()
    with pytest.raises(OpenFailed) as caught:
        toys.apply(plan, parts, engine)
    assert time.monotonic() - began < 60  # of a few seconds; a machine may be busy
    assert str(caught.value) == "step 'shut' cannot open: FileNotFoundError: weights.bin is not there"
    assert 'raise FileNotFoundError("weights.bin is not there")' in caught.value.detail
    assert plan.steps[0].manifest.committed() == {}


def test_what_breaks_a_worker_ends_the_run(ray_here: None) -> None:
    with pytest.raises(RunError) as caught:
        RayEngine().map([LanePlan(BadLane)], [0, 1])
    assert str(caught.value) in {f"a worker failed: RuntimeError: no room for {n}" for n in (0, 1)}
    assert "in __call__" in caught.value.__notes__[0]


def test_steps_that_ask_for_the_same_share_a_lane(tmp_path: Path) -> None:
    plan, _ = toys.planned(tmp_path, [Take(), toys.Crack(), toys.Polish()], ["ok"], per_part=1)
    assert [(lane.cpus, lane.gpus) for lane in lanes(plan.steps, isolate=True)] == [(1.0, 0.0), (0.5, 0.0)]


def test_only_what_is_not_done_is_taken_up(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), toys.Crack()], ["ok"] * 4, per_part=1)
    assert pending(plan.steps, parts) == [0, 1, 2, 3]
    assert pending(plan.steps[1:], parts) == []
    InlineEngine().map(lanes(plan.steps, isolate=False), [1])
    InlineEngine().map(lanes(plan.steps[:1], isolate=False), [2])
    assert pending(plan.steps, parts) == [0, 2, 3]
    assert pending(plan.steps[1:], parts) == [2]


def test_inline_imports_no_ray(tmp_path: Path) -> None:
    code = f"{toy_driver.CODE}; assert 'ray' not in sys.modules"
    command = [sys.executable, "-c", code, str(tmp_path), "inline", "film"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_ray_is_left_as_it_was_found(ray_here: None) -> None:
    import ray

    engine = RayEngine()
    engine.map([LanePlan(BadLane)], [])
    engine.connect()
    engine.close()
    assert ray.is_initialized()


def test_on_this_machine_no_lane_asks_for_more_than_it_has(ray_here: None) -> None:
    engine = RayEngine()
    engine.folder = "of a Ray of its own"
    assert engine._limit_cpus(LanePlan(BadLane, cpus=512)).cpus == 2
    assert engine._limit_cpus(LanePlan(BadLane, cpus=0.5)).cpus == 0.5
    with pytest.raises(
        RunError, match=r"a step asks for 1 GPUs, and this machine has 0: lower resources\.<step>\.gpus"
    ):
        engine._limit_cpus(LanePlan(BadLane, gpus=1))


@pytest.mark.parametrize(("have", "ranks", "kind"), [({"GPU": 8.0, "CPU": 4.0}, 8, "GPU"), ({"CPU": 2.0}, 2, "CPU")])
def test_ranks_take_what_the_cluster_has(
    have: dict[str, float], ranks: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster counts, not this machine: the head of a cluster may have no GPU."""
    monkeypatch.setattr("ray.cluster_resources", lambda: have)
    engine = RayEngine()
    assert engine.kind_of_ranks(ranks) == kind
    assert engine.kind_of_ranks(ranks + 1) == kind  # a cluster may grow
    engine.folder = "a-ray-of-its-own"
    assert engine.kind_of_ranks(ranks) == kind
    with pytest.raises(RunError, match=rf"^{ranks + 1} workers, and this machine has {ranks} {kind}s"):
        engine.kind_of_ranks(ranks + 1)


def test_errors_of_ours_are_found_inside_others() -> None:
    error = ConfigError("wrong")
    wrapped = RuntimeError("outside")
    wrapped.__cause__ = pickle.loads(pickle.dumps(TransportedError(error)))
    assert str(unwrap_ray_error(wrapped)) == "wrong"
    assert isinstance(unwrap_ray_error(wrapped), ConfigError)
    assert as_ola_error(error) is error
    assert str(unwrap_ray_error(ValueError("first\nlast"))) == "a worker failed: ValueError: last"
