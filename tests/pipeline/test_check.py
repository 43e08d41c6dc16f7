"""`ola check` names every kind of damage to the shards of a real run, and is silent about a good one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.catalogue import CURRENT
from stages.shards import ShardReader
from tests.runs import Said, copy_of, finished, ola, shards_of


def place(shard: Path, member: str) -> tuple[str, int]:
    """Key of a shard's first sample, and where in the file the bytes of a member begin."""
    with ShardReader(shard) as reader:
        raw = reader[0]
        return raw.key, shard.read_bytes().index(bytes(raw.members[member]))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def flip_in(member: str, further: int) -> Callable[[Path], None]:
    return lambda shard: flip(shard, place(shard, member)[1] + further)


def cut_short(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-5000])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


def add_stray(shard: Path) -> None:
    shard.with_name("train-000009.tar").write_bytes(shard.read_bytes())


def shift_index(shard: Path) -> None:
    flip(Path(f"{shard}.idx"), 9)


def miscount(shard: Path) -> None:
    info = shard.parent / ".nv-meta" / ".info.json"
    facts = json.loads(info.read_text())
    facts["shard_counts"][shard.name] += 1
    info.write_text(json.dumps(facts))


DAMAGE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "a byte of a frame": (
        flip_in("mjpg", 700),
        ("{shard}: {key}: the bytes are not those that were written (digest)",),
    ),
    "the head of a frame": (flip_in("mjpg", 0), ("{shard}: {key}: frame 0: cannot identify image file",)),
    "a byte of a sound": (flip_in("wav", 900), ("{shard}: {key}: the bytes are not those that were written (digest)",)),
    "the head of a sound": (flip_in("wav", 1), ("{shard}: {key}: wav: ",)),
    "a json": (flip_in("json", 0), ("{shard}: {key}: json: ",)),
    "the header of a tar": (lambda shard: flip(shard, 5), ("{shard}: shard ", "the header is damaged")),
    "the end of a tar": (cut_short, ("{shard}: shard ", "the tar is truncated inside")),
    "no tar": (lambda shard: shard.unlink(), ("{shard}: the shard is missing",)),
    "an empty tar": (
        empty,
        ("{shard}: shard ", "the tar ends without its two zero blocks"),
    ),
    "a stray tar": (add_stray, ("train-000009.tar: the shard is in no row of shards.parquet",)),
    "a wrong index": (shift_index, ("{shard}: .idx: offsets are not those of the samples",)),
    "no index": (lambda shard: Path(f"{shard}.idx").unlink(), ("{shard}: .idx: ",)),
    "a wrong count for Energon": (miscount, (".nv-meta/.info.json: counts ",)),
    "no rows": (lambda shard: (shard.parent / "shards.parquet").unlink(), ("shards.parquet: ",)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage: str, tmp_path: Path) -> None:
    harm, expected = DAMAGE[damage]
    root = copy_of(finished(), tmp_path)
    shard = shards_of(root)[0]
    key, _ = place(shard, "json")
    harm(shard)
    said = ola("check", root)
    assert said.code == 1
    for text in expected:
        assert text.format(shard=shard.name, key=key) in said.out
    assert said.out.splitlines()[-1].endswith(("fault", "faults"))
    assert "Traceback" not in said.out + said.err


def test_a_good_run_has_no_fault() -> None:
    assert ola("check", finished()) == Said(0, "no fault\n", "")


def test_a_task_that_is_in_two_sets_is_named(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    facts = json.loads((root / CURRENT).read_text())
    folder, again = facts["folders"]["omni"], "shards/omni/again"
    shutil.copytree(root / folder, root / again)
    facts["folders"]["omni_again"] = again
    (root / CURRENT).write_text(json.dumps(facts))
    tasks = pq.read_table(root / folder / "shards.parquet")["id"].to_pylist()
    said = ola("check", root)
    assert said.code == 1
    found = [line for line in said.out.splitlines() if ": task " in line]
    assert found == [f"{again}/shards.parquet: task {name} is also in {folder}" for name in sorted(tasks)]


def test_without_a_run_there_is_nothing_to_check(tmp_path: Path) -> None:
    said = ola("check", tmp_path)
    assert (said.code, said.err) == (2, f"ola: no shards at {tmp_path}: nothing was packed yet\n")
