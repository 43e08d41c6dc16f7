"""The writer's shards are read by tarfile, webdataset and this project; bad samples are refused by name."""

from __future__ import annotations

import gc
import json
import tarfile
import warnings
from pathlib import Path

import pytest
import webdataset as wds
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pack.writer import ShardWriter, digest, energon_meta, index_bytes
from stages.shards import ShardReader, read_index
from stages.tar_format import TarError

Samples = dict[str, dict[str, bytes]]
SAMPLES: Samples = {f"clip-{i:03d}": {"json": b"{}", "wav": bytes([i]) * (100 * i)} for i in range(12)}


def write(path: Path, samples: Samples) -> ShardWriter:
    with ShardWriter(str(path)) as writer:
        for key, members in samples.items():
            writer.add(key, members)
    return writer


def read(reader: ShardReader) -> Samples:
    return {sample.key: {ext: bytes(view) for ext, view in sample.members.items()} for sample in reader}


def by_tarfile(path: Path) -> Samples:
    found: Samples = {}
    with tarfile.open(path) as archive:
        for info in archive:
            key, _, extension = info.name.partition(".")
            file = archive.extractfile(info)
            assert file is not None
            found.setdefault(key, {})[extension] = file.read()
    return found


def by_webdataset(path: Path) -> Samples:
    stream = wds.WebDataset(str(path), shardshuffle=False)
    # webdataset leaves its file to the garbage collector; collected here, it warns in no other test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = {sample["__key__"]: {k: v for k, v in sample.items() if k[0] != "_"} for sample in stream}
        del stream
        gc.collect()
    return found


def test_three_readers_read_identical_bytes(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    writer = write(path, SAMPLES)
    assert by_tarfile(path) == by_webdataset(path) == read(ShardReader(path)) == SAMPLES
    (tmp_path / "train-000000.tar.idx").write_bytes(index_bytes(writer.offsets))
    assert read(ShardReader(path)) == SAMPLES


@settings(deadline=None)  # it writes files, whose time is the disk's
@given(st.lists(st.tuples(st.binary(max_size=2000), st.binary(max_size=2000)), max_size=4))
def test_any_size_comes_back(tmp_path_factory: pytest.TempPathFactory, contents: list[tuple[bytes, bytes]]) -> None:
    path = tmp_path_factory.mktemp("any") / "x.tar"
    samples = {str(i): {"json": one, "wav": two} for i, (one, two) in enumerate(contents)}
    writer = write(path, samples)
    assert read(ShardReader(path)) == by_tarfile(path) == samples
    assert read(ShardReader(path, writer.offsets)) == samples


def test_add_says_where_the_bytes_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with ShardWriter(str(path)) as writer:
        placed = [m for key, members in SAMPLES.items() for m in writer.add(key, members).members.values()]
    content = path.read_bytes()
    wanted = {f"{key}.{ext}": data for key, members in SAMPLES.items() for ext, data in members.items()}
    assert {m.name: content[m.offset : m.offset + m.size] for m in placed} == wanted


def test_size_and_offsets(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    writer = write(path, SAMPLES)
    content = path.read_bytes()
    assert writer.bytes == len(content) == writer.offsets[-1] + 1024
    reader = ShardReader(path)
    assert writer.offsets == [sample.offset for sample in reader] + [len(content) - 1024]


def test_two_writes_are_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", SAMPLES)
    write(tmp_path / "b.tar", SAMPLES)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_digest_is_of_the_bytes_of_its_sample(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with ShardWriter(str(path)) as writer:
        placed = [writer.add(key, members) for key, members in SAMPLES.items()]
    content = path.read_bytes()
    assert [digest(content[p.offset : p.offset + p.size]) for p in placed] == [p.digest for p in placed]
    assert len({p.digest for p in placed}) == len(SAMPLES)


def test_any_bytes_like_member_is_taken(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "x.tar")) as writer:
        writer.add("a", {"wav": memoryview(b"abc").cast("B"), "json": bytearray(b"{}")})
    assert read(ShardReader(tmp_path / "x.tar")) == {"a": {"wav": b"abc", "json": b"{}"}}


@pytest.mark.parametrize(
    ("key", "members", "message"),
    [
        ("a.b", {"json": b"", "wav": b""}, "key 'a.b': only"),
        ("a/b", {"json": b"", "wav": b""}, "key 'a/b': only"),
        ("", {"json": b"", "wav": b""}, "key '': only"),
        ("b", {"JSON": b"", "wav": b""}, "key 'b': extension 'JSON'"),
        ("b", {"__key__": b"", "wav": b""}, "key 'b': extension '__key__'"),
        ("first", {"json": b"", "wav": b""}, "key 'first' is already in shard"),
        ("b", {"json": b""}, r"key 'b' has members \['json'\]"),
        ("b", {"json": b"", "mjpg": b"", "wav": b""}, "key 'b' has members"),
        ("b", {}, "key 'b' has members"),
        ("k" * 98, {"json": b"", "wav": b""}, "shorten the key"),
    ],
)
def test_a_bad_sample_is_refused_and_leaves_no_trace(
    key: str, members: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    good = {"json": b"{}", "wav": b"1"}
    with ShardWriter(str(tmp_path / "x.tar")) as writer:
        writer.add("first", good)
        with pytest.raises(ValueError, match=message):
            writer.add(key, members)
        writer.add("last", good)
    assert read(ShardReader(tmp_path / "x.tar")) == {"first": good, "last": good}


def test_a_refused_first_sample_does_not_fix_the_member_set(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "x.tar")) as writer:
        with pytest.raises(ValueError, match="shorten the key"):
            writer.add("k" * 100, {"wav": b""})
        writer.add("a", {"json": b""})
    assert read(ShardReader(tmp_path / "x.tar")) == {"a": {"json": b""}}


def write_one_and_fail(writer: ShardWriter) -> None:
    writer.add("a", {"json": b"{}"})
    writer.add("a.b", {"json": b"{}"})


def test_a_draft_left_by_an_exception_is_no_shard(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"key 'a\.b'"), ShardWriter(str(tmp_path / "x.tar")) as writer:
        write_one_and_fail(writer)
    with pytest.raises(TarError, match="without its two zero blocks"):
        ShardReader(tmp_path / "x.tar")


def test_an_empty_shard_and_its_index(tmp_path: Path) -> None:
    writer = write(tmp_path / "x.tar", {})
    (tmp_path / "x.tar.idx").write_bytes(index_bytes(writer.offsets))
    assert read_index(tmp_path / "x.tar.idx") == [0]
    assert len(ShardReader(tmp_path / "x.tar")) == 0


def test_index_is_little_endian_uint64() -> None:
    assert index_bytes([0, 512, 2**33]).hex() == "00" * 8 + "0002" + "00" * 6 + "00000000" + "02000000"


def test_energon_files() -> None:
    files = energon_meta({"train-000000.tar": 3, "val-000000.tar": 1}, ["train-000000.tar"], ["val-000000.tar"])
    assert sorted(files) == [".nv-meta/.info.json", ".nv-meta/dataset.yaml", ".nv-meta/split.yaml"]
    assert json.loads(files[".nv-meta/.info.json"]) == {"shard_counts": {"train-000000.tar": 3, "val-000000.tar": 1}}
    assert yaml.safe_load(files[".nv-meta/dataset.yaml"]) == {
        "__module__": "megatron.energon",
        "__class__": "CrudeWebdataset",
    }
    assert yaml.safe_load(files[".nv-meta/split.yaml"]) == {
        "exclude": [],
        "split_parts": {"train": ["train-000000.tar"], "val": ["val-000000.tar"]},
    }


def test_energon_splits_may_be_empty_but_must_cover_all() -> None:
    assert b"val: []" in energon_meta({"a.tar": 1}, ["a.tar"], [])[".nv-meta/split.yaml"]
    with pytest.raises(ValueError, match="exactly once"):
        energon_meta({"a.tar": 1, "b.tar": 1}, ["a.tar"], [])
    with pytest.raises(ValueError, match="exactly once"):
        energon_meta({"a.tar": 1}, ["a.tar"], ["a.tar"])
    with pytest.raises(ValueError, match=r"\['b.tar'\] have no samples"):
        energon_meta({"a.tar": 1, "b.tar": 0}, ["a.tar", "b.tar"], [])
