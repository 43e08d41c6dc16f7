"""Packing by groups: new videos make new shards, a changed video those of its group; readers are not disturbed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webdataset

from manifests import linking, storage
from manifests.records import PackedTask
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.errors import RunError
from pipeline.pack import groups
from pipeline.pack.check import check_run
from pipeline.pack.groups import update_groups
from pipeline.pack.publish import current_manifest, pack, read_rows
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from stages.catalogue import current, read_catalogue
from stages.trainer import train
from tests.pipeline.test_pack_tasks import annotated, commit_part
from tests.stages.lessons import read, short, training, write_model

SETTINGS = PackSettings(val=0.3, shard_mb=1)
PART = 4  # videos


def packed(plan: Plan, settings: PackSettings = SETTINGS) -> tuple[str, ...]:
    return pack(plan, settings, lambda make, numbers: InlineEngine().map([LanePlan(make)], numbers))


def made(root: Path, parts: int) -> Plan:
    return annotated(root, [range(PART * part, PART * part + PART) for part in range(parts)])


def stats(root: str) -> dict[str, tuple[int, int, int]]:
    """Inode, size and mtime of every tar of the current sets, by stage and name."""
    return {
        f"{stage}/{path.name}": (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for stage, folder in current(root).items()
        for path in sorted(Path(root, folder).glob("*.tar*"))
    }


def rows(root: str) -> list[PackedTask]:
    return [row for folder in current(root).values() for row in read_rows(storage.join(root, folder))]


def contents(root: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(Path(root).glob("shards/**/*"))
        if path.is_file() and ".draft-" not in path.name
    }


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "LARGEST_GROUP", 2)


def test_new_videos_make_new_shards_alone(tmp_path: Path) -> None:
    plan = made(tmp_path, 3)
    packed(plan)
    before, old, videos = stats(plan.root), current(plan.root), {row.video for row in rows(plan.root)}
    commit_part(tmp_path, plan, 3, range(12, 15))
    packed(plan)
    after = stats(plan.root)
    assert before.items() <= after.items(), "old tars keep name, inode, size and time"
    added = {row.video for row in rows(plan.root) if f"{row.stage}/{row.shard}" not in before}
    assert added
    assert not added & videos
    assert list(check_run(plan.root)) == []
    assert all(Path(plan.root, folder, "shards.parquet").exists() for folder in old.values())
    loaded = [str(path) for path in sorted(Path(plan.root, current(plan.root)["omni"]).glob("*.tar"))]
    keys = {sample["__key__"] for sample in webdataset.WebDataset(loaded, shardshuffle=False)}
    assert keys == {row.key for row in rows(plan.root) if row.stage == "omni"}
    assert len(read_catalogue([plan.root])) == sum(row.split == "train" for row in rows(plan.root))


def test_a_video_that_changed_changes_its_group_alone(tmp_path: Path) -> None:
    plan = made(tmp_path, 5)
    packed(plan)
    before, tasks = stats(plan.root), {row.id for row in rows(plan.root)}
    for planned in reversed(plan.steps):
        storage.remove(planned.manifest.uri(1))
    commit_part(tmp_path, plan, 1, range(4, 7))  # the last video was taken out
    packed(plan)
    (changed,) = [group for group in update_groups(plan) if 1 in group.parts]
    inodes = {facts[0] for facts in stats(plan.root).values()}
    lost = {name for name, facts in before.items() if facts[0] not in inodes}
    gone = {row.id for row in rows(plan.root)} ^ tasks
    assert {name[7:27] for name in gone} <= {name[7:27] for name in tasks}
    assert lost
    assert len(lost) <= sum(len(name) > 0 for name in before) * 2 / len(update_groups(plan)), changed
    assert list(check_run(plan.root)) == []


def test_another_where_links_what_it_does_not_change(tmp_path: Path) -> None:
    plan = made(tmp_path, 4)
    packed(plan)
    before = stats(plan.root)
    packed(plan, SETTINGS.model_copy(update={"where": "motion < 12"}))  # the videos of the last part have more
    kept = {facts[0] for facts in stats(plan.root).values()} & {facts[0] for facts in before.values()}
    assert kept
    assert {row.video for row in rows(plan.root)}
    assert list(check_run(plan.root)) == []


def test_a_linked_shard_that_is_gone_is_written(tmp_path: Path) -> None:
    plan = made(tmp_path, 2)
    packed(plan)
    for folder in current(plan.root).values():
        for path in Path(plan.root, folder).glob("*-000000.tar"):
            path.unlink()
    packed(plan, SETTINGS.model_copy(update={"where": "motion >= 0"}))
    assert list(check_run(plan.root)) == []


def test_file_systems_without_links_get_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"x")
    linking.link(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        linking.link(str(tmp_path / "c"), str(tmp_path / "b"))


def pack_until(plan: Plan, moment: int) -> None:
    """Pack in this process, which is killed at the n-th thing that it writes or deletes."""
    groups.LARGEST_GROUP = 2
    left = moment

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def write(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)

        return write

    for name in ("write_bytes", "place", "create", "remove"):
        setattr(storage, name, counted(getattr(storage, name)))
    packed(plan)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A root that was packed without a kill."""
    plan = made(tmp_path_factory.mktemp("calm"), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "LARGEST_GROUP", 2)
        packed(plan)
    return plan


def test_workers_of_a_cluster_write_the_same_bytes(calm: Plan, tmp_path: Path, ray_here: None) -> None:
    plan = made(tmp_path, 3)
    assert pack(plan, SETTINGS, lambda make, numbers: RayEngine().map([LanePlan(make)], numbers)) == ()
    assert len(update_groups(plan)) == 2
    assert contents(plan.root) == contents(calm.root)


@pytest.mark.parametrize("tenth", range(10))
def test_a_kill_at_any_write_changes_no_byte(tenth: int, calm: Plan, tmp_path: Path) -> None:
    plan = made(tmp_path, 3)
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.pipeline.test_pack_groups"])
    killed = forks.Process(target=pack_until, args=(plan, 1 + 5 * tenth))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    packed(plan)
    assert contents(plan.root) == contents(calm.root)
    whole, again = current_manifest(calm), current_manifest(plan)
    assert whole is not None
    assert again is not None
    assert again.total() == whole.total()
    assert not (tmp_path / "shards/packing.json").exists()


def test_a_video_in_two_groups_is_refused(tmp_path: Path) -> None:
    plan = annotated(tmp_path, [range(4), range(3, 6)])
    with pytest.raises(RunError, match="'ingest' are in more than one row"):
        packed(plan)


def test_training_on_the_set_of_yesterday_is_not_disturbed(tmp_path: Path) -> None:
    root, model = tmp_path / "run", write_model(tmp_path / "model")
    plan = made(root, 2)
    packed(plan, PackSettings(val=0, shard_mb=1))
    tasks, said = set(read_catalogue([str(root)]).ids(range(len(read_catalogue([str(root)]))))), list[str]()

    def say(line: str) -> None:
        if line.startswith("step ") and not said:
            said.append(line)
            commit_part(root, plan, 2, range(8, 12))
            packed(plan, PackSettings(val=0, shard_mb=1))

    train(training((str(root),), model, tmp_path / "out", short(steps=None, batch=1)), say=say)
    assert {task for _, task in read(tmp_path / "out")} == tasks
    assert len(read_catalogue([str(root)])) > len(tasks)


def test_groups_that_cannot_be_read_are_made_anew(tmp_path: Path) -> None:
    plan = made(tmp_path, 3)
    packed(plan)
    before = json.loads((tmp_path / groups.GROUPS).read_text())
    (tmp_path / groups.GROUPS).write_text("[3, 1")
    packed(plan)
    assert json.loads((tmp_path / groups.GROUPS).read_text()) == before
