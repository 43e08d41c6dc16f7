"""The catalogue has every task of every source, and incomplete shards raise an error before anything is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stages.catalogue import current, read_catalogue, set_folders
from stages.errors import StagesError
from stages.shards import sample_at
from tests.stages.shardset import sample, write_rows, write_set

CLIPS = [sample(n, "subtitle", "speech_recognition") for n in range(3)]
PICTURES = [sample(n, "image_caption") for n in range(3, 8)]


def test_tasks_come_in_the_order_of_sets_and_rows(tmp_path: Path) -> None:
    rows = write_set(tmp_path / "omni", CLIPS) + write_set(tmp_path / "image", PICTURES)
    found = read_catalogue([str(tmp_path / "omni"), str(tmp_path / "image")])
    assert len(found) == 11
    assert found.ids(range(11)) == [row.id for row in rows]
    assert found.ids([10, 0]) == [rows[10].id, rows[0].id]
    assert found.numbers("tokens").tolist() == [row.tokens for row in rows]
    assert found.counts() == {"image_caption": 5, "speech_recognition": 3, "subtitle": 3}
    assert {stage: len(found) for stage, found in found.stages().items()} == {"image": 5, "omni": 6}
    assert sorted(row for kind in found.kinds().values() for row in kind) == list(range(11))
    assert found.table["uri"].to_pylist()[-1] == f"{tmp_path}/image/train-000001.tar"


def test_a_run_is_found_by_its_root(tmp_path: Path) -> None:
    assert current(str(tmp_path)) == {}
    write_set(tmp_path / "shards" / "omni" / "k1", CLIPS)
    said = {"key": "k", "folders": {"omni": "shards/omni/k1"}}
    (tmp_path / "shards" / "current.json").write_text(json.dumps(said))
    assert set_folders(str(tmp_path)) == [f"{tmp_path}/shards/omni/k1"]
    assert len(read_catalogue([str(tmp_path)])) == 6


def test_only_the_split_that_is_asked_for(tmp_path: Path) -> None:
    write_set(tmp_path, PICTURES, split="val")
    assert len(read_catalogue([str(tmp_path)], "val")) == 5
    with pytest.raises(StagesError, match="no task of the split 'train' in the shards"):
        read_catalogue([str(tmp_path)])


def test_the_digest_is_of_the_tasks_wherever_they_lie(tmp_path: Path) -> None:
    write_set(tmp_path / "a", PICTURES)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    write_set(tmp_path / "c", PICTURES[:-1])
    write_set(tmp_path / "d", PICTURES[::-1])
    digests = {name: read_catalogue([str(tmp_path / name)]).digest for name in "abcd"}
    assert digests["a"] == digests["b"]
    assert len(set(digests.values())) == 3


def test_a_place_is_a_span_of_a_shard(tmp_path: Path) -> None:
    rows = write_set(tmp_path, CLIPS)
    for place in read_catalogue([str(tmp_path)]).locate([5, 0, 3]):
        row = rows[place.row]
        assert place[1:] == (row.id, f"{tmp_path}/{row.shard}", row.offset, row.size)
        assert (
            sample_at(memoryview(Path(place.uri).read_bytes()), place.offset, place.offset + place.size).key == row.key
        )


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, CLIPS)
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(StagesError, match=r"train-000001.tar: the shard is missing"):
        read_catalogue([str(tmp_path)])


def test_a_shard_that_is_truncated_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, CLIPS)
    shard = tmp_path / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-2000])
    with pytest.raises(StagesError, match=r"train-000001.tar: expected at least \d+ bytes, got \d+: .*truncated"):
        read_catalogue([str(tmp_path)])


def test_sources_without_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(StagesError, match=r"nothing: no shards: expected shards/current.json"):
        read_catalogue([str(tmp_path / "nothing")])
    write_rows(tmp_path, [])
    with pytest.raises(StagesError, match="no task of the split"):
        read_catalogue([str(tmp_path)])


def test_rows_that_cannot_be_read_are_named_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "shards.parquet").write_bytes(b"no parquet")
    with pytest.raises(StagesError, match=r"shards.parquet: cannot be read") as error:
        read_catalogue([str(tmp_path)])
    assert "\n" not in str(error.value)
