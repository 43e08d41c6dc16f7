"""What is no record's fault is no record's row: the part is set aside, all others go on, and the next run takes it up.

In: toy steps, files and workers with faults of the machine. Out: the committed parts, the rows, what is set aside.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from manifests.journal import Journal, journal_path
from manifests.ledger import Manifest
from pipeline import blame, damage
from pipeline.config import Config
from pipeline.engines import Inline, LanePlan, OnRay, _reserved, is_lost
from pipeline.errors import OpenFailed, RunError, SetAside
from pipeline.plan import Plan, Planned
from pipeline.run import lanes, pending, work
from pipeline.worker import Lane
from tests import toy_faults, toys
from tests.media import pattern
from tests.runs import ola, rows, talking
from tests.toy_faults import Weather, changed
from tests.toys import Crack, Film, Polish, Take, Traced

GB = 1e9


@pytest.fixture(autouse=True)
def cpus_back() -> Iterator[None]:
    """A Ray Data graph that failed is a cycle of references, and holds its actors' CPUs until it is collected."""
    yield
    gc.collect()


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "WAITS", (0.01, 0.02))


def apply(steps: Sequence[Planned], parts: Sequence[int], engine: Inline | OnRay) -> list[SetAside]:
    return engine.map(lanes(steps, isolate=True), pending(steps, parts))


def lines(aside: Sequence[SetAside]) -> list[str]:
    return [str(found) for found in aside]


def committed(plan: Plan) -> list[list[int]]:
    return [sorted(planned.manifest.committed()) for planned in plan.steps]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def part_file(manifest: Manifest, part: int) -> Path:
    return Path(manifest.uri(part))


def test_a_damaged_part_is_set_aside_and_made_again_by_the_next_run(tmp_path: Path, engine: Inline | OnRay) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), Crack(), Polish()], ["ok"] * 9, per_part=3)
    apply(plan.steps[:1], parts, Inline())
    file = part_file(plan.steps[0].manifest, 1)
    truncate(file)
    (aside,) = apply(plan.steps, parts, engine)
    taken = plan.steps[0].manifest
    assert str(aside).startswith(f"part 1 is set aside at 'crack': {taken.path(1)} is damaged (")
    assert "the next run makes the part again" in str(aside)
    assert file.with_name(f"{file.name}.damaged").exists()
    assert committed(plan) == [[0, 2]] * 3
    assert apply(plan.steps, parts, Inline()) == []
    assert [planned.manifest.total().ok for planned in plan.steps] == [9, 9, 27]


def test_a_damaged_row_group_under_a_whole_footer_is_damage_too(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), Crack()], ["ok"] * 4, per_part=2)
    apply(plan.steps[:1], parts, Inline())
    file = part_file(plan.steps[0].manifest, 0)
    data = bytearray(file.read_bytes())
    data[4:60] = bytes(56)
    file.write_bytes(data)
    assert plan.steps[0].manifest.counts(0).ok == 2
    (aside,) = apply(plan.steps, parts, Inline())
    assert (aside.part, committed(plan)) == (0, [[1], [1]])


def test_the_registration_of_a_part_is_never_renamed(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok"] * 4, per_part=2)
    file = part_file(plan.sources, 1)
    truncate(file)
    (aside,) = apply(plan.steps, parts, Inline())
    assert "only a copy can replace it" in aside.reason
    assert file.exists()
    assert committed(plan) == [[0]]


def test_a_run_names_what_it_sets_aside_and_shows_the_rest(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), Crack()], ["ok"] * 6, per_part=2)
    work(Config(), plan, parts)
    for planned in plan.steps:
        truncate(part_file(planned.manifest, 1))
    with pytest.raises(blame.Incomplete) as caught:
        work(Config(), plan, parts)
    assert [(found.part, found.step) for found in caught.value.aside] == [(1, "take"), (1, "crack")]
    assert [planned.manifest.total().inputs for planned in plan.steps] == [4, 4]
    work(Config(), plan, parts)
    assert [planned.manifest.total().inputs for planned in plan.steps] == [6, 6]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("unavailable", "videos/a.mp4: the store answers 503"),
        ("disk full", "OSError: [Errno 28] No space left on device: 'scratch/copy'"),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_what_may_pass_is_no_row(tmp_path: Path, engine: Inline | OnRay, deed: str, reason: str, batch: int) -> None:
    trace = tmp_path / "trace"
    deeds = [deed if n == 6 else "ok" for n in range(12)]
    steps = [Weather(Traced(trace=str(trace))), Crack()]
    plan, parts = toys.planned(tmp_path, steps, deeds, per_part=4, batch=batch)
    aside = apply(plan.steps, parts, engine)
    assert lines(aside) == [f"part 1 is set aside at 'weather': {reason}"]
    assert aside[0].detail == ""
    assert committed(plan) == [[0, 2], [0, 2]]
    assert plan.steps[0].manifest.total().failed == 0
    weather = plan.steps[0].manifest
    journal = Journal(journal_path(weather.root, weather.path(1, "journal")), weather.record, "other", "life")
    journal.close(delete=False)
    assert sorted(journal.outcomes) == ["s0004", "s0005"]


def test_without_isolation_what_may_pass_is_set_aside_too(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Weather()], ["unavailable", "ok"], per_part=1)
    aside = Inline().map(lanes(plan.steps, isolate=False), parts)
    assert lines(aside) == ["part 0 is set aside at 'weather': videos/a.mp4: the store answers 503"]
    assert committed(plan) == [[1]]


def test_a_flaw_of_our_own_in_one_part_stops_no_other(tmp_path: Path, engine: Inline | OnRay) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), Crack()], ["ok"] * 6, per_part=2)
    steps = [plan.steps[0], changed(plan.steps[1], toy_faults.BrokenInputs)]
    (aside,) = apply(steps, parts, engine)
    assert str(aside) == "part 1 is set aside at 'crack': KeyError: 'c0007'"
    assert "in inputs" in aside.detail
    assert committed(plan) == [[0, 1, 2], [0, 2]]


def test_a_full_disk_under_a_worker_ends_the_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok"] * 6, per_part=2)
    monkeypatch.setattr(Manifest, "commit", lambda *_: toy_faults.fill_the_disk())
    with pytest.raises(RunError) as caught:
        apply(plan.steps, parts, Inline())
    assert str(caught.value) == "No space left on device: scratch/copy (part 0 of 'take')"


def test_a_process_killed_from_outside_is_tried_again(tmp_path: Path, no_waits: None) -> None:
    trace, marks = tmp_path / "trace", [tmp_path / "a", tmp_path / "b"]
    deeds = [f"killed once {marks[0]}", "ok", "ok", f"killed once {marks[1]}"]
    for batch in (1, 2):
        root = tmp_path / f"{batch}"
        plan, parts = toys.planned(root, [Weather(Traced(trace=str(trace)))], deeds, per_part=2, batch=batch)
        assert apply(plan.steps, parts, Inline()) == []
        assert plan.steps[0].manifest.total().ok == 4
        for mark in marks:
            mark.unlink()


def test_a_process_killed_from_outside_each_time_sets_its_part_aside(tmp_path: Path, no_waits: None) -> None:
    trace = tmp_path / "trace"
    deeds = ["ok", "ok", "ok", "killed", "ok", "ok"]
    plan, parts = toys.planned(tmp_path, [Weather(Traced(trace=str(trace)))], deeds, per_part=2, memory_gb=4)
    aside = apply(plan.steps, parts, Inline())
    assert lines(aside) == [
        "part 1 is set aside at 'weather': killed from outside (SIGKILL), below its limit of 4.0 GB: "
        "the machine ran out of memory, or somebody killed it"
    ]
    assert toys.traced(trace)["weather s0003"] == 3
    assert committed(plan) == [[0, 2]]


def test_the_memory_of_what_was_killed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "WAITS", ())
    plan, parts = toys.planned(tmp_path, [Weather()], [f"killed once {tmp_path}/a"], per_part=1, memory_gb=4)
    (aside,) = apply(plan.steps, parts, Inline())
    assert aside.reason.startswith("killed from outside (SIGKILL) at 0.")
    assert " GB, below its limit of 4.0 GB: " in aside.reason


def test_a_step_killed_each_time_it_opens_ends_the_run(tmp_path: Path, no_waits: None) -> None:
    plan, parts = toys.planned(tmp_path, [Weather(Traced(pause=-1))], ["ok"] * 2, per_part=1)
    with pytest.raises(OpenFailed, match=r"'weather' was killed from outside \(SIGKILL\) while opening, 3 times"):
        apply(plan.steps, parts, Inline())


def test_a_worker_that_dies_over_the_inputs_of_a_part_gives_it_up(tmp_path: Path, ray_here: None) -> None:
    plan, parts = toys.planned(tmp_path, [Film(), toys.Watch()], ["ok"] * 6, per_part=2)
    steps = [changed(plan.steps[0], toy_faults.DeadlyInputs), plan.steps[1]]
    aside = apply(steps, parts, OnRay())
    assert lines(aside) == ["part 1 is set aside at 'film': its worker died 3 times while no record was in flight"]
    assert committed(plan) == [[0, 2], [0, 2]]


def test_a_worker_that_dies_in_its_commit_gives_the_part_up(tmp_path: Path, ray_here: None) -> None:
    trace = tmp_path / "trace"
    plan, parts = toys.planned(tmp_path, [Take(Traced(trace=str(trace)))], ["ok"] * 6, per_part=2)
    steps = [changed(plan.steps[0], manifest=toy_faults.deadly_commit(plan.steps[0].manifest))]
    (aside,) = apply(steps, parts, OnRay())
    assert (aside.part, aside.reason) == (1, "its worker died 3 times while no record was in flight")
    assert set(toys.traced(trace).values()) == {1}
    assert committed(plan) == [[0, 2]]


def test_a_lane_without_a_journal_is_not_restarted_for_ever(tmp_path: Path, ray_here: None) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(RunError, match="a worker failed: it died 2 times over number 1"):
        OnRay().map([LanePlan(partial(toy_faults.DeadlyLane, str(trace)), retries=1)], [1])
    assert toys.traced(trace)["1"] == 2


def left_by_two_workers(planned: Planned, node: str) -> None:
    """Write the journal of part 0 as two workers leave it that vanish over its first record."""
    manifest = planned.manifest
    for life in ("a", "b"):
        path = journal_path(manifest.root, manifest.path(0, "journal"))
        journal = Journal(path, manifest.record, "this session", life)
        journal.begin(node)
        journal.start(["s0000"])
        journal.close(delete=False)


@pytest.mark.parametrize("lost", [True, False])
def test_deaths_with_a_lost_node_are_not_blamed_on_records(tmp_path: Path, ray_here: None, lost: bool) -> None:
    import ray

    here = ray.get_runtime_context().get_node_id()
    plan, parts = toys.planned(tmp_path, [Take()], ["ok"] * 2, per_part=2)
    left_by_two_workers(plan.steps[0], "f" * 56 if lost else here)
    assert [is_lost("f" * 56), is_lost(here)] == [True, False]
    assert OnRay().map([LanePlan(partial(Lane, list(plan.steps), "this session"), retries=-1)], parts) == []
    assert toys.failures(plan.steps[0].manifest) == ({} if lost else {"s0000": "killed its worker twice"})


def test_workers_lost_with_their_nodes_do_not_count_against_a_part(tmp_path: Path) -> None:
    for life in "abcd":
        journal = Journal(tmp_path / "j", toys.Pebble, "s", life)
        journal.begin("gone" if life in "abc" else "here")
        journal.close(delete=False)
    journal = Journal(tmp_path / "j", toys.Pebble, "s", "e")
    assert journal.vanished() == 4
    journal.forgive(lambda node: node == "gone")
    assert journal.vanished() == 1
    blame.check_lives(0, "take", journal)
    journal.close(delete=True)


def test_a_life_that_ended_over_a_record_is_not_counted_twice(tmp_path: Path) -> None:
    for life in "ab":
        journal = Journal(tmp_path / "j", toys.Pebble, "s", life)
        journal.begin()
        journal.start(["x"])
        journal.close(delete=False)
    journal = Journal(tmp_path / "j", toys.Pebble, "s", "c")
    journal.begin()
    assert journal.deaths("x") == 2
    journal.done(toys.Outcome("x", "failed", 0.0, (), "killed its worker twice", None))
    journal.close(delete=False)
    journal = Journal(tmp_path / "j", toys.Pebble, "s", "d")
    assert journal.vanished() == 1  # c alone
    journal.close(delete=True)


def test_lanes_tell_ray_their_memory(tmp_path: Path) -> None:
    plan, _ = toys.planned(tmp_path, [Take(), Crack(), Polish()], ["ok"], per_part=1, memory_gb=3)
    assert [(lane.memory, lane.retries) for lane in lanes(plan.steps, isolate=True)] == [(3 * GB, -1), (3 * GB, -1)]


def test_no_lane_reserves_more_memory_than_there_is(ray_here: None) -> None:
    import ray

    have = ray.cluster_resources()["memory"]
    small, large = LanePlan(toys.BadLane, memory=have / 8), LanePlan(toys.BadLane, memory=have * 10)
    assert _reserved([small, small], 2) == [LanePlan(toys.BadLane, memory=int(have / 8))] * 2
    assert sum(lane.memory for lane in _reserved([small, large], 2)) * 2 <= have
    assert [lane.memory for lane in _reserved([LanePlan(toys.BadLane)], 2)] == [0]


def test_a_lane_with_the_limits_of_a_large_model_runs_on_a_small_machine(tmp_path: Path, ray_here: None) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), Crack()], ["ok"] * 2, per_part=1, memory_gb=100_000)
    assert apply(plan.steps, parts, OnRay()) == []
    assert committed(plan) == [[0, 1], [0, 1]]


def test_the_command_names_what_is_set_aside_and_packs_the_rest(tmp_path: Path) -> None:
    root, videos = tmp_path / "out", tmp_path / "videos"
    for n in range(2):
        talking(videos, f"film{n}", pattern(f"film{n}.mp4", 4 + n / 4), 4)
    settings = ("--set", "extract.frames.cap=2", "--set", "videos_per_part=1")
    assert ola("run", videos, "--root", root, *settings).code == 0
    (damaged,) = root.glob("02-split-*/part-000001.parquet")
    for path in (*root.glob("0[34]-*/part-000001.*"), *root.glob("05-*/*")):
        path.unlink()
    truncate(damaged)
    said = ola("run", "--root", root)
    assert said.code == 4
    assert f"part 1 is set aside at 'split': {damaged.relative_to(root)} is damaged (" in said.out
    assert "1 of the parts set aside: the next run takes it up again" in said.out
    assert "1 of 2 videos reached the shards" in said.out
    assert ola("run", "--root", root).code == 0
    assert rows(root, "SELECT count(DISTINCT video) FROM shards") == [(2,)]


def test_drafts_of_damaged_files_are_not_taken_for_parts(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok"] * 2, per_part=1)
    apply(plan.steps, parts, Inline())
    truncate(part_file(plan.steps[0].manifest, 0))
    assert damage.put_away(plan.steps[0].manifest, 1) is None
    assert damage.put_away(plan.steps[0].manifest, 0) is not None
    assert committed(plan) == [[1]]
