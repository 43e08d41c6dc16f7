"""Compacted roots: every command sees what it saw before, kills lose nothing, and requests grow with block files."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from manifests import blocks, storage, views
from manifests.records import Source
from manifests.sources import Registered
from pipeline.config import Config
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.monitoring import progress
from pipeline.plan import Plan
from pipeline.sources.discovery import discover
from pipeline.state import compaction, lease
from pipeline.state.compaction import compact, compacting
from pipeline.state.ledger_law import law_violations, read_counts
from pipeline.state.registration import register
from pipeline.state.reopen import reopen_changed, reopen_failed
from tests import toys
from tests.bench import again
from tests.killing import Killed, errors_as_rows, killed_at
from tests.object_store import Watched, watched
from tests.runs import copy_of, files_of, finished, ola, rows, shards_of, status
from tests.toys import Crack, Polish, Take, Traced

FORMAT = blocks.BLOCK  # as workers in other processes have it
IN_PROCESS = ("--set", "isolate=false")


@pytest.fixture(autouse=True)
def _blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2)
    monkeypatch.setattr(blocks, "AT_ONCE", 1)


@pytest.fixture(autouse=True)
def _tame() -> Iterator[None]:
    with errors_as_rows():
        yield


def worked(root: Path, weights: Path, trace: str = "", only: int = 3) -> tuple[Plan, list[int]]:
    """A root of five parts and three steps; the records of parts 0 and 3 fail while `weights` is not there."""
    deeds = [f"need {weights}" if n in {0, 3} else "drop" if n == 2 else "ok" for n in range(5)]
    steps = [kind(Traced(trace=trace)) for kind in (Take, Crack, Polish)][:only]
    plan, parts = toys.planned(root, steps, deeds, per_part=1)
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    return plan, parts


def compacted(plan: Plan, parts: list[int]) -> None:
    compact(plan, parts, InlineEngine().map)


def parquet_files(plan: Plan) -> set[str]:
    found = storage.listing(plan.root, recursive=True)
    return {entry.path.rpartition("/")[2] for entry in found if entry.path[:2] != "00" and ".parquet" in entry.path}


def told(plan: Plan) -> dict[str, Any]:
    """Rows without timings, counts, and what the law says."""
    manifests = [planned.manifest for planned in plan.steps]
    books = read_counts(plan)
    with views.connect(plan.root, manifests, {}) as connection:
        answers = {
            m.name: connection.sql(f"SELECT * EXCLUDE (seconds) FROM {m.name} ORDER BY ALL").fetchall()
            for m in manifests
        }
    return {
        "sql": answers,
        "rows": [m.read(p).drop_columns("seconds").to_pylist() for m in manifests for p in m.committed()],
        "digests": [m.rows_digest(part) for m in manifests for part in m.committed()],
        "counts": {step: {p: [c.inputs, c.ok, c.failed] for p, c in of.items()} for step, of in books.counts.items()},
        "broken": list(law_violations(plan, books)),
        "damaged": dict(books.damaged),
    }


FILES = {"parts-000000-000001.parquet", "parts-000002-000003.parquet", "part-000004.parquet"}


def test_the_law_holds_after_compaction(tmp_path: Path) -> None:
    plan, parts = worked(tmp_path, tmp_path / "weights")
    before = told(plan)
    assert before["broken"] == []
    compacted(plan, parts)
    assert parquet_files(plan) == FILES
    assert told(plan) == before
    assert toys.apply(plan, parts, InlineEngine(), isolate=False) == []
    assert parquet_files(plan) == FILES


def test_workers_on_ray_compact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None) -> None:
    monkeypatch.setattr(blocks, "BLOCK", FORMAT)
    plan, parts = toys.planned(tmp_path, [Take()], ["ok"] * (FORMAT + 1), per_part=1)
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    before = told(plan)
    compact(plan, parts, RayEngine().map)
    assert parquet_files(plan) == {f"parts-000000-{FORMAT - 1:06d}.parquet", f"part-{FORMAT:06d}.parquet"}
    assert told(plan) == before


def test_a_run_at_work_compacts_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "INTERVAL", 0.001)
    calm, _ = worked(tmp_path / "calm", tmp_path / "weights")
    deeds = [f"need {tmp_path / 'weights'}" if n in {0, 3} else "drop" if n == 2 else "ok" for n in range(5)]
    plan, parts = toys.planned(tmp_path / "busy", [Take(), Crack(), Polish()], deeds, per_part=1)
    with compacting(plan, parts):
        assert toys.apply(plan, parts, InlineEngine(), isolate=False) == []
        while parquet_files(plan) != FILES:
            time.sleep(0.01)
    assert told(plan) == told(calm)


def test_what_is_no_whole_block_is_left_alone(tmp_path: Path) -> None:
    plan, parts = worked(tmp_path, tmp_path / "weights")
    plan.steps[0].manifest.remove(1)
    compacted(plan, parts)
    assert [list(blocks.part_files(planned.manifest.folder_uri).blocks) for planned in plan.steps] == [
        *([1], [0, 1], [0, 1])
    ]
    listed: list[object] = []
    compact(plan, parts[:1], lambda *arguments: listed.append(arguments))
    assert listed == []


def test_a_retry_of_a_compacted_root_runs_what_failed_and_nothing_else(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    roots = {name: tmp_path / name for name in ("plain", "compacted")}
    made = {name: worked(root, weights, f"{root}.trace") for name, root in roots.items()}
    compacted(*made["compacted"])
    weights.touch()
    traces = {}
    for name, (plan, parts) in made.items():
        Path(f"{roots[name]}.trace").unlink()
        reopen_failed(plan, None)
        assert [len(planned.manifest.committed()) for planned in plan.steps] == [3, 3, 3]
        toys.apply(plan, parts, InlineEngine(), isolate=False)
        traces[name] = toys.traced(Path(f"{roots[name]}.trace"))
    assert traces["compacted"] == traces["plain"]
    assert told(made["compacted"][0]) == told(made["plain"][0])
    compacted(*made["compacted"])
    assert parquet_files(made["compacted"][0]) == FILES
    assert told(made["compacted"][0]) == told(made["plain"][0])


def test_a_retry_of_a_compacted_root_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """The retry is killed at each write: committed parts keep the law, or the next retry restores it."""
    moment, ended = 0, False
    while not ended:
        moment += 2
        root, weights = tmp_path / f"{moment}", tmp_path / f"weights{moment}"
        plan, parts = worked(root, weights)
        compacted(plan, parts)
        weights.touch()
        with suppress(Killed), killed_at(moment, after=False):
            reopen_failed(plan, None)
            ended = True
        toys.apply(plan, parts, InlineEngine(), isolate=False)
        compacted(plan, parts)
        assert parquet_files(plan) == FILES
        assert told(plan)["broken"] == []
        reopen_failed(plan, None)
        toys.apply(plan, parts, InlineEngine(), isolate=False)
        assert [planned.manifest.total().ok for planned in plan.steps] == [4, 4, 12]
        assert told(plan)["broken"] == []
    assert moment > 20


def test_a_compaction_that_is_killed_is_completed_by_the_next_run(tmp_path: Path) -> None:
    plan, parts = worked(tmp_path / "whole", tmp_path / "weights")
    before, moment, ended = told(plan), 0, False
    while not ended:
        moment += 1
        plan, parts = worked(tmp_path / f"{moment}", tmp_path / "weights")
        with suppress(Killed), killed_at(moment, after=bool(moment % 2)):
            compacted(plan, parts)
            ended = True
        assert told(plan) == before
        assert toys.apply(plan, parts, InlineEngine(), isolate=False) == []
        compacted(plan, parts)
        assert parquet_files(plan) == FILES
        assert told(plan) == before
    assert moment == 1 + 3 * 2 * 3  # a creation and two removals, for two blocks of each step


def test_a_changed_source_reopens_its_part_under_all_keys(tmp_path: Path) -> None:
    plan, parts = worked(tmp_path, tmp_path / "weights")
    compacted(plan, parts)
    taken = tmp_path / plan.steps[0].manifest.folder
    stale = tmp_path / "01-take-0123456789ab"
    stale.mkdir()
    for path in taken.iterdir():
        (stale / path.name).write_bytes(path.read_bytes())
    [old] = [each for each in plan.sources.registered() if each.part == 1]
    new = Registered(Source(id="other", uri="ok#1", bytes=9), 1, 0)
    reopen_changed(plan, [(old, new)])
    for folder in (stale, *(tmp_path / planned.manifest.folder for planned in plan.steps)):
        assert sorted(blocks.part_files(str(folder)).committed()) == [0, 2, 3, 4]


def test_a_damaged_block_file_is_named_once_and_made_again(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    assert ola("run", "--root", root, *IN_PROCESS).code == 0
    [path] = root.glob("02-split-*/parts-*.parquet")
    path.write_bytes(b"no more")
    said = ola("status", root)
    assert (said.code, said.out.count("is damaged: delete it and run again")) == (1, 1), said
    path.unlink()
    assert ola("run", "--root", root, *IN_PROCESS).code == 0
    assert status(root)["split"]["ok"] == 4
    assert path.exists()


def test_commands_see_a_compacted_run_as_it_was(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    queries = [f"SELECT * FROM {step} ORDER BY ALL" for step in ("ingest", "split", "extract", "transcribe", "pack")]
    before = [rows(root, query) for query in queries], status(root), [path.read_bytes() for path in shards_of(root)]
    assert ola("run", "--root", root, *IN_PROCESS).code == 0
    assert len(list(root.glob("0*-*/parts-000000-000001.parquet"))) == 4
    assert list(root.glob("0[1-4]-*/part-*.parquet")) == []
    assert ([rows(root, q) for q in queries], status(root), [p.read_bytes() for p in shards_of(root)]) == before
    assert ola("check", root).out == "no fault\n"
    assert ola("why", root, before[0][1][0][0]).code == 0
    files = {name: facts for name, facts in files_of(root).items() if "/" in name}
    assert ola("run", "--root", root, *IN_PROCESS).code == 0
    assert {name: facts for name, facts in files_of(root).items() if "/" in name} == files
    said = ola("run", "--root", root, *IN_PROCESS, "--set", "transcribe.language=en", "--yes")
    assert (said.code, "4 of 4 videos reached the shards" in said.out) == (0, True), said
    said = ola("run", "--root", root, *IN_PROCESS, "--set", "transcribe.language=null", "--retry", "--yes")
    assert said.code == 0, said
    assert [rows(root, query) for query in queries[:-1]] == before[0][:-1]


def filled(root: str, folder: Path, videos: int) -> None:
    """A root in a store with a part a video, compacted and packed."""
    folder.mkdir()
    for n in range(videos):
        (folder / f"video-{n:04d}.mp4").write_bytes(hashlib.sha256(b"%d" % n).digest() + bytes(n))
    config = Config(inputs=(str(folder),))
    plan = config.plan(root)
    for part in register(plan.sources, discover(config.inputs, plan.root), None, 1):
        again.fill(plan, part)
    said = ola("run", folder, "--root", root, "--set", "videos_per_part=1", *IN_PROCESS)
    assert said.code == 0, said


def requests_of(root: str, watch: Watched) -> dict[str, int]:
    """Requests of each command on a run that is done, but for those that depend on how long it takes."""
    commands = {
        "status": ("status", root),
        "sql": ("sql", root, "SELECT count(*), sum(split.motion) FROM split JOIN transcribe ON split.id = clip"),
        "run": ("run", "--root", root, *IN_PROCESS),
    }
    counted = {}
    for name, command in commands.items():
        watch.requests.clear()
        said = ola(*command)
        assert said.code == 0, said
        counted[name] = sum(lease.LOCK not in request for request in watch.requests)
    return counted


def test_requests_grow_with_block_files_and_not_with_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_block, steps = 6, ("ingest", "split", "extract", "transcribe")
    monkeypatch.setattr(blocks, "BLOCK", a_block)
    monkeypatch.setattr(again, "CLIPS", 2)
    monkeypatch.setattr(progress, "LINE_SECONDS", 600.0)
    found = []
    with watched("compacted") as (uri, watch):
        for count in (1, 2):
            root = f"{uri}/{count}"
            filled(root, tmp_path / f"{count}", count * a_block)
            names = [entry.path for entry in storage.listing(root, recursive=True)]
            assert sum("/parts-" in name for name in names) == count * len(steps)
            assert [
                name for name in names if "/part-" in name and name.endswith(".parquet") and "-pack-" not in name
            ] == []
            found.append(requests_of(root, watch))
    for command, least in (("status", len(steps)), ("sql", 2), ("run", len(steps))):  # a GET for each block file
        first, second = (counted[command] for counted in found)
        assert least <= second - first < a_block * len(steps)  # less than one for each part
