"""A damaged file of a run, or a full disk, is one line in every command, with a remedy that works."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests import storage
from pipeline.pack import lanes
from stages.catalogue import current
from tests.runs import copy_of, finished, ola, shards_of, status

DAMAGE: dict[str, Callable[[bytes], bytes]] = {"cut": lambda data: data[:-100], "emptied": lambda data: b""}
FILES = ("*-transcribe-*/part-000001.parquet", "*-pack-*/part-000000.parquet", "00-source/sources-*.parquet",
         "shards/omni/*/shards.parquet")  # fmt: skip
# which commands need the file at all
BLIND = {
    FILES[0]: {"check", "train"},
    FILES[1]: {"check", "train", "whatif"},
    FILES[2]: {"check", "train"},
    FILES[3]: {"whatif"},
}


def commands(root: Path) -> dict[str, tuple[str | Path, ...]]:
    model = ("--model", "nano", "--out", root / "trained")
    return {
        "status": ("status", root),
        "sql": ("sql", root, "FROM source" if (root / "00-source").exists() else "FROM shards"),
        "why": ("why", root, "numbers.mp4"),
        "check": ("check", root),
        "whatif": ("whatif", root, "words > 2"),
        "train": ("train", "omni", "--shards", root, *model),
        "run": ("run", "--root", root),
    }


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_file_is_one_line_in_every_command(tmp_path: Path, pattern: str, how: str) -> None:
    root = copy_of(finished(), tmp_path)
    (path,) = root.glob(pattern)
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    shown = path.relative_to(root) if pattern == FILES[3] else path
    for name, words in commands(root).items():
        if name in BLIND[pattern]:
            continue
        said = ola(*words)
        lines = [line for line in (said.out + said.err).splitlines() if str(shown) in line]
        assert len(lines) == 1, (name, said)
        assert "delete it and" in lines[0], (name, lines)
        assert said.code in (1, 3, 4), (name, said)
    path.unlink()
    assert ola("run", "--root", root).code == 0
    assert ola("check", root).out == "no fault\n"
    assert status(root)["pack"]["ok"] == status(finished())["pack"]["ok"]
    tars = sorted(Path(root, current(str(root))["omni"]).glob("*.tar"))
    assert [tar.read_bytes() for tar in tars] == [tar.read_bytes() for tar in shards_of(finished())]


def fill(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["shard", "rows", "views"])
def test_a_disk_that_is_full_while_it_packs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    root = copy_of(finished(), tmp_path)
    with monkeypatch.context() as patch:
        if where == "shard":
            patch.setattr(lanes, "write_shard", fill)
        else:
            name = {"rows": "shards.parquet", "views": "views.sql"}[where]
            place = storage.place
            patch.setattr(storage, "place", lambda path, uri: fill() if name in uri else place(path, uri))
        said = ola("run", "--root", root, "--set", "pack.val=0.2")
    assert said.code == 3, said
    assert said.err.startswith("ola: no space left: "), said
    assert said.err.endswith("; make space and run again\n")
    assert said.err.count("\n") == 1
    assert where == "shard" or {"rows": "shards.parquet", "views": "views.sql"}[where] in said.err
    assert ola("run", "--root", root).code == 0
    assert ola("check", root).out == "no fault\n"
