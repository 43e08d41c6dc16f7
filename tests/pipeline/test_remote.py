"""Input and root in an object store: the same shards as on disk, and no partial file is ever visible."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import storage
from pipeline.errors import ConfigError
from pipeline.sources.discovery import discover
from pipeline.state import lease
from tests.media import numbered, pattern
from tests.object_store import Watched, client, watched
from tests.runs import Said, ola, rows, shards_of, status, talking

FAST = ("--set", "extract.frames.cap=4", "--set", "split.longest=4", "--set", "videos_per_part=2")


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Watched]]:
    with watched("films") as (uri, requests):
        yield uri, requests


@pytest.fixture(scope="module")
def store_at(store: tuple[str, Watched]) -> str:
    return store[0]


def keys(prefix: str) -> dict[str, int]:
    """Objects below a prefix, with their sizes."""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket="films", Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def upload(folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client().upload_file(str(path), "films", f"{prefix}/{path.relative_to(folder)}")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, store_at: str) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "videos"
    talking(folder, "one", numbered("plain.mp4", 100), 4)
    talking(folder / "sub folder", "two", pattern("two.mp4", 4.4), 4)
    shutil.copy(folder / "one.mp4", folder / "copy.mp4")
    (folder / "bad?#.mp4").write_text("no video")
    upload(folder, "in")
    return folder


@pytest.fixture(scope="module")
def done(videos: Path, store_at: str) -> Said:
    return ola("run", f"{store_at}/in", "--root", f"{store_at}/out", *FAST)


def digests(tars: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in tars.items()}


def test_a_run_from_store_to_store(done: Said, store_at: str) -> None:
    assert done.code == 0, done
    assert "2 of 4 videos reached the shards" in done.out
    steps = status(f"{store_at}/out")
    assert (steps["ingest"]["ok"], steps["ingest"]["dropped"], steps["ingest"]["failed"]) == (2, 1, 1)
    assert ola("check", f"{store_at}/out") == Said(0, "no fault\n", "")
    assert "extract " in ola("why", f"{store_at}/out", f"{store_at}/in/sub folder/two.mp4").out
    assert not [name for name in keys("out") if storage.DRAFT in name or name.endswith(".journal")]


def test_a_second_run_writes_no_part_again(done: Said, store_at: str) -> None:
    before = {e["Key"]: e["LastModified"] for e in client().list_objects_v2(Bucket="films", Prefix="out/")["Contents"]}
    time.sleep(1.1)  # the store's clock counts in seconds
    assert ola("run", "--root", f"{store_at}/out").code == 0
    after = {e["Key"]: e["LastModified"] for e in client().list_objects_v2(Bucket="films", Prefix="out/")["Contents"]}
    anew = {"out/run.yaml", "out/views.sql"}
    assert {key: at for key, at in after.items() if key not in anew} == {
        k: at for k, at in before.items() if k not in anew
    }


def test_shards_are_those_of_a_run_on_the_same_uris(done: Said, store_at: str, tmp_path: Path) -> None:
    """Provenance names the input, so both runs have the same input and differ in their roots."""
    assert ola("run", f"{store_at}/in", "--root", tmp_path / "out", *FAST).code == 0
    local = {path.name: path.read_bytes() for path in shards_of(tmp_path / "out")}
    remote = {
        key.rsplit("/", 1)[1]: storage.read_bytes(f"s3://films/{key}")
        for key in keys("out/shards")
        if key.endswith(".tar")
    }
    assert digests(remote) == digests(local)
    assert local


def test_frames_and_sound_are_those_of_a_run_on_disk(done: Said, store_at: str, videos: Path, tmp_path: Path) -> None:
    assert ola("run", videos, "--root", tmp_path / "out", *FAST).code == 0
    query = "SELECT id, frame_bytes, frame_ms, sound.size FROM extract WHERE status = 'ok' ORDER BY id"
    assert rows(tmp_path / "out", query) == rows(f"{store_at}/out", query)


def test_a_second_run_at_the_same_time_is_refused(done: Said, store_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)
    with lease.exclusive_run(f"{store_at}/out"):
        said = ola("run", "--root", f"{store_at}/out")
        assert ola("check", f"{store_at}/out") == Said(0, "no fault\n", "")
        found = [
            source.uri for source in discover([f"{store_at}/in", f"{store_at}/out/shards"], f"{store_at}/elsewhere")
        ]
    assert (said.code, said.err.count("\n")) == (3, 1), said
    assert f"another run is at work at {store_at}/out (process {os.getpid()} on " in said.err
    assert not [uri for uri in found if uri.endswith(".lock")]
    assert "out/.lock" not in keys("out")


UPLOAD = """
import sys
from manifests import storage
from pipeline.sources.discovery import discover
from pipeline.errors import ConfigError
target = sys.argv[1]
with storage.draft(target) as path:
    with open(path, "wb") as file:
        file.write(bytes(64 << 20))
    print("ready", flush=True)
"""


def test_a_killed_upload_leaves_nothing_to_see(store_at: str, tmp_path: Path) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", UPLOAD, f"{store_at}/killed/big.bin"]
    for wait in (0.0, 0.02, 0.1):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        assert set(keys("killed").values()) <= {64 << 20}


def test_a_block_that_raises_writes_nothing(store_at: str) -> None:
    def broken() -> None:
        with storage.draft(f"{store_at}/raised/x.bin") as path:
            Path(path).write_bytes(b"half")
            raise KeyError("on the way")

    with pytest.raises(KeyError):
        broken()
    assert keys("raised") == {}


def test_a_bucket_that_is_not_there_is_one_line(store_at: str, tmp_path: Path) -> None:
    said = ola("run", "s3://nobody/in", "--root", tmp_path / "out")
    assert said.code == 2, said
    assert said.err.count("\n") == 1
    assert "s3://nobody/in" in said.err


def test_globs_and_prefixes_leave_out_what_is_hidden_and_the_run_itself(videos: Path, store_at: str) -> None:
    upload(videos, "globs")
    client().put_object(Bucket="films", Key="globs/.hidden.mp4", Body=b"x")
    client().put_object(Bucket="films", Key="globs/out/00-source/part-000000.parquet", Body=b"x")
    root = f"{store_at}/globs/out"
    whole = [source.uri for source in discover([f"{store_at}/globs"], root)]
    assert whole == sorted(
        f"{store_at}/globs/{name}" for name in ("bad?#.mp4", "copy.mp4", "one.mp4", "sub folder/two.mp4")
    )
    assert [source.uri for source in discover([f"{store_at}/globs/[co]*.mp4"], root)] == whole[1:3]
    with pytest.raises(ConfigError, match="nothing at"):
        discover([f"{store_at}/globs/*.mov"], root)


def test_one_listing_tells_all_of_a_prefix_and_of_a_list(
    videos: Path, store: tuple[str, Watched], tmp_path: Path
) -> None:
    (store_at, watch) = store
    upload(videos, "told")
    watch.requests.clear()
    sources = discover([f"{store_at}/told"], f"{store_at}/elsewhere")
    assert len(watch.requests) <= 2  # whether it is an object; the listing
    assert [len(source.sidecars) for source in sources] == [0, 0, 1, 1]
    assert all(source.stamp for source in sources)
    listed = tmp_path / "list.jsonl"
    listed.write_text("".join(f'{{"uri": "{source.uri}"}}\n' for source in sources), encoding="utf-8")
    watch.requests.clear()
    again = discover([str(listed)], f"{store_at}/elsewhere")
    assert len(watch.requests) == len({source.uri.rpartition("/")[0] for source in sources})
    assert [source.stamp for source in again] == [source.stamp for source in sources]


def test_keys_that_are_no_paths_are_rows_with_their_reason(store_at: str) -> None:
    for key in ("odd/a//b.mp4", "odd/a/../c.mp4", "odd/good.mp4"):
        client().put_object(Bucket="films", Key=key, Body=b"x")
    faults = {source.uri: source.fault for source in discover([f"{store_at}/odd"], f"{store_at}/elsewhere")}
    assert faults.pop(f"{store_at}/odd/good.mp4") is None
    assert len(faults) == 2
    assert all("rename the object" in (fault or "") for fault in faults.values())


def test_files_of_one_size_are_read_once_to_be_compared(store: tuple[str, Watched]) -> None:
    store_at, watch = store
    for n in range(20):
        storage.write_bytes(f"{store_at}/equal/{n:02d}.mp4", bytes([n // 2]) * 5000)  # ten pairs, none of them a video
    watch.requests.clear()
    ola("run", f"{store_at}/equal", "--root", f"{store_at}/equal-out", "--only", "ingest", "--set", "isolate=true")
    reads = [request for request in watch.requests if request.startswith("GET /films/equal/")]
    assert len(reads) <= 30  # twenty to compare, ten owners to ingest
    steps = status(f"{store_at}/equal-out")
    assert (steps["ingest"]["dropped"], steps["ingest"]["failed"]) == (10, 10)
    watch.requests.clear()
    ola("run", "--root", f"{store_at}/equal-out", "--only", "ingest")
    assert not [request for request in watch.requests if request.startswith("GET /films/equal/")]


def test_a_replaced_object_takes_the_place_of_the_old_one(videos: Path, store_at: str) -> None:
    storage.write_bytes(f"{store_at}/moving/a.mp4", (videos / "one.mp4").read_bytes())
    storage.write_bytes(f"{store_at}/moving/a.srt", (videos / "one.srt").read_bytes())
    root = f"{store_at}/moving-out"
    assert ola("run", f"{store_at}/moving", "--root", root, *FAST).code == 0
    (old,) = rows(root, "SELECT id FROM ingest")
    storage.write_bytes(f"{store_at}/moving/a.mp4", (videos / "sub folder" / "two.mp4").read_bytes())
    assert ola("run", "--root", root).code == 0
    ((new, uri),) = rows(root, "SELECT id, uri FROM ingest")
    assert new != old
    assert rows(root, "SELECT DISTINCT left(input, 20) FROM pack") == [(new,)]
    for suffix in (".mp4", ".srt"):
        moved = uri.replace(".mp4", suffix)
        storage.write_bytes(f"{store_at}/moving/deep/b{suffix}", storage.read_bytes(moved))
        storage.remove(moved)
    assert ola("run", "--root", root).code == 0
    assert rows(root, "SELECT id, uri, status FROM ingest") == [(new, f"{store_at}/moving/deep/b.mp4", "ok")]
