"""A part that cannot go on is set aside and named, others go on, and no record is blamed for temporary faults."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from manifests.journal import Journal
from manifests.ledger import Manifest
from manifests.records import Outcome
from pipeline.engine import worker
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.errors import OpenFailed, RunError
from tests import toys
from tests.runs import copy_of, finished, ola, status
from tests.toys import Crack, DeadlyLane, Grain, HardToOpen, Lay, Polish, Sweep, Take, Traced


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSE", 0.0)


def damage(path: str, how: str) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes({"emptied": b"", "cut short": data[: len(data) // 2], "overwritten": b"x" * len(data)}[how])


def damaged_run(root: Path, engine: InlineEngine | RayEngine, how: str) -> None:
    """A part between two steps is damaged: the others go on, and once it is deleted it is made again."""
    plan, parts = toys.planned(root, [Take(), Crack(), Polish()], ["ok"] * 3, per_part=1)
    first, *_, last = plan.steps
    taking, _ = toys.planned(root, [Take()], ["ok"] * 3, per_part=1)
    toys.apply(taking, parts, InlineEngine(), isolate=False)
    damage(first.manifest.uri(1), how)
    (aside,) = toys.apply(plan, parts, engine, isolate=False)
    assert str(aside).startswith(f"part 1 at step 'crack': {first.manifest.uri(1)} is damaged: delete it and run again")
    assert sorted(last.manifest.committed()) == [0, 2]
    Path(first.manifest.uri(1)).unlink()
    assert toys.apply(plan, parts, InlineEngine(), isolate=False) == []
    assert last.manifest.total().ok == 9


@pytest.mark.parametrize("how", ["emptied", "cut short", "overwritten"])
def test_a_damaged_part_stops_no_other(tmp_path: Path, how: str) -> None:
    damaged_run(tmp_path, InlineEngine(), how)


def test_a_damaged_part_stops_no_other_on_ray(tmp_path: Path, ray_here: None) -> None:
    damaged_run(tmp_path, RayEngine(), "cut short")


def test_what_may_pass_is_no_row_and_keeps_what_is_done(tmp_path: Path, engine: InlineEngine | RayEngine) -> None:
    there, trace = tmp_path / "there", tmp_path / "trace"
    deeds = [f"wait {there}" if n == 4 else "ok" for n in range(9)]
    plan, parts = toys.planned(tmp_path, [Take(Traced(trace=str(trace))), Crack()], deeds, per_part=3, batch=2)
    (aside,) = toys.apply(plan, parts, engine)
    assert str(aside) == "part 1 at step 'take': the store does not answer"
    assert [sorted(planned.manifest.committed()) for planned in plan.steps] == [[0, 2], [0, 2]]
    there.touch()
    assert toys.apply(plan, parts, InlineEngine()) == []
    assert [planned.manifest.total().ok for planned in plan.steps] == [9, 9]
    assert toys.failures(plan.steps[0].manifest) == {}


def test_a_process_that_the_machine_kills_is_no_fault_of_its_record(tmp_path: Path) -> None:
    deeds = ["ok", f"killed {tmp_path / 'kills'}", "ok"]
    plan, parts = toys.planned(tmp_path, [Take()], deeds, per_part=3)
    assert toys.apply(plan, parts, InlineEngine()) == []
    assert plan.steps[0].manifest.total().ok == 3


def test_a_record_whose_process_is_always_killed_leaves_its_part_open(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok", "killed-always x", "ok", "ok"], per_part=2)
    (aside,) = toys.apply(plan, parts, InlineEngine())
    assert aside.reason.startswith("s0001 was killed from outside (SIGKILL) at ")
    assert aside.reason.endswith("below its limit of 1.0 GB: the machine is out of memory, or somebody kills it")
    assert sorted(plan.steps[0].manifest.committed()) == [1]


def test_workers_that_die_outside_a_record_are_counted_by_part(tmp_path: Path, ray_here: None) -> None:
    plan, parts = toys.planned(tmp_path, [Lay(), Sweep()], ["ok", "mine", "ok"], per_part=1)
    (aside,) = toys.apply(plan, parts, RayEngine(workers=1))
    assert str(aside) == "part 1 at step 'sweep': 3 workers died on it with no record in flight"
    assert sorted(plan.steps[1].manifest.committed()) == [0, 2]


def test_a_kill_after_a_death_is_no_row_either(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], [f"die-then-killed {tmp_path / 'once'}", "ok"], per_part=1)
    (aside,) = toys.apply(plan, parts, InlineEngine())
    assert aside.reason.startswith("s0000 was killed from outside (SIGKILL) at ")
    assert sorted(plan.steps[0].manifest.committed()) == [1]


def test_a_step_that_the_machine_kills_while_it_opens_is_opened_again(tmp_path: Path) -> None:
    twice, always = (HardToOpen(toys.Traced(trace=str(tmp_path / f"{n}.kills"), pause=n)) for n in (2, 99))
    plan, parts = toys.planned(tmp_path / "twice", [twice], ["ok"] * 2, per_part=1)
    assert toys.apply(plan, parts, InlineEngine()) == []
    assert plan.steps[0].manifest.total().ok == 2
    plan, parts = toys.planned(tmp_path / "always", [always], ["ok"] * 2, per_part=1)
    with pytest.raises(OpenFailed, match=r"step 'take' was killed from outside .* while opening, 3 times"):
        toys.apply(plan, parts, InlineEngine())


def test_many_records_of_a_part_may_kill_their_workers(tmp_path: Path, ray_here: None) -> None:
    deeds = ["kill worker" if n in {1, 4, 7} else "ok" for n in range(10)]
    plan, parts = toys.planned(tmp_path, [Take()], deeds, per_part=10)
    assert toys.apply(plan, parts, RayEngine(workers=1)) == []
    twice = "killed its worker twice"
    assert toys.failures(plan.steps[0].manifest) == {"s0001": twice, "s0004": twice, "s0007": twice}


def test_a_worker_that_died_over_a_record_is_not_counted_once_more(tmp_path: Path) -> None:
    for life, ended in (("1", ""), ("2", ""), ("3", "a")):
        journal = Journal(tmp_path / "j", Grain, "s", life)
        journal.start([])
        journal.start(["a"])
        if ended:
            journal.done(Outcome("a", "failed", 0.0, (), "killed its worker twice", None))
        journal.close(delete=False)
    now = Journal(tmp_path / "j", Grain, "s", "4")
    assert (now.deaths("a"), now.idle_deaths()) == (0, 1)
    now.close(delete=False)


def test_a_worker_that_dies_at_another_step_of_its_slice_is_not_counted(tmp_path: Path) -> None:
    for life in "123":
        journal = Journal(tmp_path / "j", Grain, "s", life)
        journal.start([])
        journal.start([life])
        journal.done(Outcome(life, "ok", 0.0, ()))
        journal.leave()
        journal.close(delete=False)
    now = Journal(tmp_path / "j", Grain, "s", "4")
    assert (now.deaths("3"), now.idle_deaths()) == (0, 0)
    now.close(delete=False)


def test_a_lane_without_a_journal_is_not_tried_without_end(tmp_path: Path, ray_here: None) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(RunError, match="a worker failed: it died 2 times over number 7"):
        RayEngine(workers=1).map([LanePlan(partial(DeadlyLane, str(trace)), retries=1)], [7])
    assert trace.read_text().splitlines() == ["7", "7"]


def test_workers_of_a_lost_node_are_no_blame(tmp_path: Path) -> None:
    for life, node in (("1", "gone"), ("2", "gone"), ("3", "here")):
        journal = Journal(tmp_path / "j", Grain, "s", life, node)
        journal.start([])
        journal.start(["a"] if life != "3" else [])
        journal.close(delete=False)
    now = Journal(tmp_path / "j", Grain, "s", "4", "here", lambda node: node == "gone")
    assert (now.deaths("a"), now.idle_deaths()) == (0, 1)
    blaming = Journal(tmp_path / "j", Grain, "s", "4", "here")
    assert (blaming.deaths("a"), blaming.idle_deaths()) == (2, 1)
    for journal in (now, blaming):
        journal.close(delete=False)


def test_a_bug_in_one_part_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok"] * 3, per_part=1)
    commit = Manifest.commit_rows

    def failing(self: Manifest, part: int, table: pa.Table, may_be_compacted: bool = True) -> bool:
        if part == 1:
            raise KeyError("no such thing")
        return commit(self, part, table, may_be_compacted)

    monkeypatch.setattr(Manifest, "commit_rows", failing)
    (aside,) = toys.apply(plan, parts, InlineEngine())
    assert str(aside) == "part 1 at step 'take': KeyError: 'no such thing'"
    assert "in failing" in aside.detail


def test_a_full_disk_and_weights_that_are_not_there_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, parts = toys.planned(tmp_path / "shut", [toys.Shut()], ["ok"] * 3, per_part=1)
    with pytest.raises(OpenFailed, match=r"weights\.bin is not there"):
        toys.apply(plan, parts, InlineEngine())

    def full(*arguments: object) -> bool:
        raise OSError(28, os.strerror(28), "part-000000.parquet")

    monkeypatch.setattr(Manifest, "commit_rows", full)
    plan, parts = toys.planned(tmp_path / "full", [Take()], ["ok"] * 3, per_part=1)
    with pytest.raises(RunError, match="no space left for part 0 of step 'take'"):
        toys.apply(plan, parts, InlineEngine())


@pytest.mark.parametrize("step", ["ingest", "extract"])
def test_a_run_with_a_damaged_part_packs_the_rest_and_says_so(tmp_path: Path, step: str) -> None:
    root = copy_of(finished(), tmp_path)
    (path,) = root.glob(f"*-{step}-*/part-000001.parquet")
    damage(str(path), "cut short")
    said = ola("run", "--root", root, "--set", "pack.val=0.1")
    assert said.code == 4, said
    assert "1 part set aside and still open; run again to try again" in said.err
    assert f"{path} is damaged: delete it and run again" in said.err
    assert "Traceback" not in said.err + said.out
    assert ola("check", root).out == "no fault\n"
    seen = ola("status", root)
    assert seen.code == 1
    assert f"{path} is damaged" in seen.out
    path.unlink()
    assert ola("run", "--root", root).code == 0
    assert status(root)["pack"]["ok"] == status(finished())["pack"]["ok"]


def test_ids_that_are_not_unique_are_not_packed(tmp_path: Path) -> None:
    """An earlier release left two rows of one video with different names after the file had moved."""
    root = copy_of(finished(), tmp_path)
    (folder,) = root.glob("*-ingest-*")
    (folder / "part-000077.parquet").write_bytes((folder / "part-000000.parquet").read_bytes())
    said = ola("run", "--root", root, "--set", "pack.val=0.1")
    assert said.code == 3, said
    assert "pack: 2 ids of step 'ingest' are in more than one row" in said.err
