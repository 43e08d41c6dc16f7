"""`ola remove` and `ola clean` on real runs, by the command line, and on a root in an object store."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manifests import storage
from pipeline.config import load_run
from pipeline.pack.check import check_run
from pipeline.plan import build_plan as planned
from pipeline.removal.procedure import Request, remove_videos
from tests.containers import done, tar
from tests.media import pattern
from tests.object_store import bucket
from tests.pipeline.removals import found, made_root, media, readings, rows, take_out, write
from tests.pipeline.test_pack import video_id
from tests.runs import ola, status, talking
from tests.runs import rows as asked

SETTINGS = ("extract.frames.cap=4", "split.longest=4", "videos_per_part=2", "pack.val=0", "isolate=false")


def run(*inputs: Path, root: Path) -> None:
    said = ola("run", *inputs, "--root", root, *(word for setting in SETTINGS for word in ("--set", setting)))
    assert said.code == 0, said


def test_a_video_leaves_a_real_run_and_never_comes_back(tmp_path: Path) -> None:
    videos, root = tmp_path / "videos", tmp_path / "out"
    for n in range(3):
        talking(videos, f"film{n}", pattern(f"film{n}.mp4", 4 + n / 5), 4)
    shutil.copy(videos / "film1.mp4", videos / "same.mp4")
    run(videos, videos / "film1.mp4", root=root)
    (gone,) = [row[0] for row in asked(root, "SELECT id FROM ingest WHERE uri LIKE '%film1.mp4'")]
    seconds = asked(root, "SELECT input, seconds FROM extract UNION ALL SELECT input, seconds FROM transcribe")
    kept = media(root)
    needles = [gone.encode(), b"film1", b"same.mp4", *(d for name, d in kept.items() if name.startswith(gone))]
    assert found(root, needles)

    (tmp_path / "names.txt").write_text(f"# what has to go\n\n{videos}/film1.mp4\n")
    said = ola("remove", root, "--list", tmp_path / "names.txt", "--note", "a right", "--yes")
    assert said.code == 0, said
    assert "is deleted" in said.out
    assert found(root, needles) == []
    assert media(root) == {name: data for name, data in kept.items() if not name.startswith(gone)}
    steps = status(root)
    assert steps["ingest"]["reasons"] == {"removed": 2}
    assert steps["ingest"]["inputs"] == 4
    assert ola("check", root).out == "no fault\n"

    shutil.copy(videos / "film1.mp4", videos / "again.mp4")
    run(videos, root=root)
    assert found(root, [gone.encode(), *needles[3:]]) == []
    assert status(root)["ingest"]["reasons"] == {"removed": 3}
    after = asked(root, "SELECT input, seconds FROM extract UNION ALL SELECT input, seconds FROM transcribe")
    assert sorted(after) == sorted(row for row in seconds if not row[0].startswith(gone)), "nothing ran again"
    refused(root)
    cleaned(root)
    assert ola("check", root).out == "no fault\n"


def refused(root: Path) -> None:
    """What cannot be done is one line."""
    for arguments, said in [
        (("remove", root), "expected ids, paths or names of videos, got none"),
        (("remove", root, "nothing.mp4", "--yes"), "got 'nothing.mp4'"),
        (("remove", root, "--list", root / "no such", "--yes"), "--list: expected a text file"),
        (("remove", root, "film0.mp4"), "got no terminal to ask on"),
        (("clean", root / "no such"), "no run at"),
    ]:
        answer = ola(*arguments)
        assert answer.code == 2, answer
        assert said in answer.err
        assert len(answer.err.splitlines()) == 1, answer.err


def cleaned(root: Path) -> None:
    """`ola clean` lists a folder of an old key with its size, and deletes it when told to."""
    (root / "03-extract-0123456789ab").mkdir()
    (root / "03-extract-0123456789ab/part-000000.parquet").write_bytes(bytes(2_000_000))
    listed = ola("clean", root)
    assert (listed.code, "03-extract-0123456789ab/" in listed.out, "2.0" in listed.out) == (0, True, True)
    assert (root / "03-extract-0123456789ab").exists()
    assert ola("clean", root, "--yes").code == 0
    assert ola("clean", root).out == "nothing to delete\n"
    assert not (root / "03-extract-0123456789ab").exists()


def test_a_root_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.pack.groups.LARGEST_GROUP", 2)
    plan = made_root(tmp_path, [range(1, 3), range(4, 6)])
    with bucket("removals") as uri:
        root = f"{uri}/root"
        for path in sorted(tmp_path.rglob("*")):
            if path.is_file():
                storage.write_bytes(f"{root}/{path.relative_to(tmp_path)}", path.read_bytes())
        remote = planned(root, [each.step for each in plan.steps])
        journal = remote.steps[2].manifest.uri(1, "journal")
        storage.write_bytes(journal, b'{}\n{"done": {"input": "%s-x"}}\n' % video_id(5).encode())
        take_out(remote, video_id(5))
        assert storage.read_bytes(journal) == b"{}\n"
        assert list(check_run(root)) == []
        before, after = rows(plan, place_too=False), rows(remote, place_too=False)
        for step in before:
            mine = [row for row in before[step] if not row["input"].startswith((video_id(5), "source 5"))]
            assert [row for row in after[step] if row["input"] != "source 5"] == mine
        copied = tmp_path / "copied"
        for entry in storage.listing(root, recursive=True):
            storage.write_bytes(str(copied / entry.path), storage.read_bytes(f"{root}/{entry.path}"))
    assert found(copied, [video_id(5).encode()]) == []
    assert any(video_id(4).encode() in piece for path in copied.rglob("*.parquet") for piece in readings(path))


def test_a_container_tells_nothing_of_a_removed_video_when_it_is_indexed_again(tmp_path: Path) -> None:
    told = {"a": "told of the first one", "b": "told of the other one"}
    members = []
    for name, seconds in (("a", 2), ("b", 3)):
        members += [(f"{name}.mp4", pattern(f"held-{seconds}.mp4", seconds).read_bytes())]
        members += [(f"{name}.json", json.dumps({"caption": told[name]}).encode())]
    held, root = tar(tmp_path / "00000.tar", members), tmp_path / "root"
    sets = ["steps=[ingest,split]"]
    done(root, held, sets=sets)
    assert told["a"] in _indexed(root)
    config = load_run(str(root))
    remove_videos(config.plan(str(root)), config.pack, write, Request([f"{held}#a.mp4"]))
    assert not list((root / "00-source").glob("containers/*"))
    done(root, held, sets=sets)
    assert told["a"] not in _indexed(root)
    assert told["b"] in _indexed(root)
    assert asked(root, "SELECT status FROM ingest ORDER BY status") == [("dropped",), ("ok",)]
    os.utime(held)
    done(root, held, sets=sets)
    assert told["a"] not in _indexed(root), "nor when the container was touched"


def _indexed(root: Path) -> str:
    return "".join(str(pq.read_table(path).to_pylist()) for path in (root / "00-source").rglob("*.parquet"))
