"""Other readers of a real run's shards get the same bytes, frames, sounds and times."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.media.demux import start_of
from pipeline.media.extraction import build_index, read_frames
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import open_container
from stages.samples import Sample
from stages.shards import ShardReader, split_frames
from tests.media import number_of, pixels, samples, video_of
from tests.runs import WORDS, finished, ola, rows, shards_of

Members = dict[str, dict[str, bytes]]


def ours() -> Members:
    """Members of every sample by key, as our own reader sees them."""
    found: Members = {}
    for shard in shards_of(finished()):
        with ShardReader(shard) as reader:
            found |= {raw.key: {name: bytes(view) for name, view in raw.members.items()} for raw in reader}
    return found


def sample_of(members: dict[str, bytes]) -> Sample:
    return Sample.model_validate_json(members["json"])


def test_there_are_shards_of_train_and_of_val() -> None:
    names = [path.name for path in shards_of(finished())]
    assert {name.split("-")[0] for name in names} == {"train", "val"}
    assert len(ours()) == rows(finished(), "SELECT count(DISTINCT key) FROM shards")[0][0] >= 8


def test_webdataset_reads_the_same_bytes() -> None:
    import webdataset

    found: Members = {}
    for shard in shards_of(finished()):
        data = webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=True)
        found |= {one["__key__"]: {k: v for k, v in one.items() if not k.startswith("__")} for one in data}
    assert found == ours()


@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_face_datasets_reads_the_same(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    options = {
        "data_files": [str(path) for path in shards_of(finished())],
        "split": "train",
        "cache_dir": str(tmp_path),
    }
    features = datasets.load_dataset("webdataset", streaming=True, **options).features
    # as bytes: decoding sound asks for torchcodec
    features = datasets.Features({**features, "wav": datasets.Value("binary")})
    loaded = datasets.load_dataset("webdataset", streaming=streaming, features=features, **options)
    found = {row["__key__"]: row for row in loaded}
    assert found.keys() == ours().keys()
    for key, members in ours().items():
        assert (found[key]["wav"], found[key]["mjpg"]) == (members["wav"], members["mjpg"])
        assert found[key]["json"] == json.loads(members["json"])


def test_indexes_lead_to_the_samples() -> None:
    for shard in shards_of(finished()):
        offsets = np.fromfile(str(shard) + ".idx", dtype="<u8")
        data = shard.read_bytes()
        with ShardReader(shard) as reader:
            assert len(offsets) == len(reader) + 1
            keys = [raw.key for raw in reader]
        names = [data[offset : offset + 100].rstrip(b"\0").decode() for offset in offsets[:-1].tolist()]
        assert names == [f"{key}.json" for key in keys]


def test_the_original_trainers_references_lead_to_the_same_frames_and_sound(tmp_path: Path) -> None:
    file = tmp_path / "ola.json"
    assert ola("export", finished(), file, "--to", "ola-json").code == 0
    records = json.loads(file.read_text())
    by_task = {task.id: (sample_of(m), m, task) for m in ours().values() for task in sample_of(m).tasks}
    train = {name for (name,) in rows(finished(), "SELECT id FROM shards WHERE split = 'train'")}
    assert {record["id"] for record in records} == train
    for record in records:
        sample, members, task = by_task[record["id"]]
        assert record["conversations"] == [turn.model_dump(by_alias=True) for turn in task.conversations]
        if task.kind == "speech_recognition":  # listens, and is shown nothing
            assert "video" not in record
            continue
        assert record["conversations"][0]["value"].startswith("<speech><image>\n")
        frames = [pixels(data) for data in patches(record["video"])]
        stored = [pixels(view) for view in split_frames(members["mjpg"], sample.pictures.bytes)]
        assert len(frames) == len(stored) == len(sample.pictures.ms)
        assert all(np.array_equal(one, other) for one, other in zip(frames, stored, strict=True))
        (sound,) = patches(record["audio"])
        assert np.array_equal(samples(sound), samples(members["wav"]))


def patches(reference: dict[str, Any]) -> list[bytes]:
    """What the original trainer reads of {"patch", "start_num", "size"}."""
    sizes = reference["size"] if isinstance(reference["size"], list) else [reference["size"]]
    with open(reference["patch"], "rb") as file:
        file.seek(reference["start_num"])
        return [file.read(size) for size in sizes]


def test_frames_bear_the_numbers_of_their_times() -> None:
    found = [(sample_of(members), members) for members in ours().values()]
    checked = 0
    for sample, members in found:
        if not str(sample.provenance["uri"]).endswith("numbers.mp4"):
            continue
        for ms, view in zip(sample.pictures.ms, split_frames(members["mjpg"], sample.pictures.bytes), strict=True):
            assert number_of(pixels(view)) == round((sample.start_ms + ms) / 40)
            checked += 1
    assert checked == 64


def test_frames_are_those_of_the_video() -> None:
    sample, members = next((sample_of(m), m) for m in ours().values() if "film" in m["json"].decode())
    path = Path(str(sample.provenance["uri"]))
    video = video_of(path)
    index = build_index(str(path), video.picture)
    with open_container(str(path)) as container:
        start = start_of(container)
    stamps = [round(((sample.start_ms + ms) / 1000 + start) / index.tick) for ms in sample.pictures.ms]
    renderer = FrameRenderer.for_video(video, 90)
    drawn = [renderer.jpeg(frame) for _, frame in read_frames(str(path), video.picture, index, stamps)]
    assert drawn == [bytes(view) for view in split_frames(members["mjpg"], sample.pictures.bytes)]


def test_words_stand_at_their_times() -> None:
    for members in ours().values():
        sample = sample_of(members)
        (task,) = (task for task in sample.tasks if task.kind == "subtitle")
        name = os.path.basename(str(sample.provenance["uri"])).removesuffix(".mp4")
        assert task.times
        for said in task.times:
            # the n-th second says the n-th word, from 0.1 to 0.8; a cue across a border is shared
            second, word = (sample.start_ms / 1000 + said.start) // 1, said.text.split()[0]
            assert word in (WORDS.split()[int(second)], "of", *name.split())
            if said.text == f"{WORDS.split()[int(second)]} of {name}":
                assert sample.start_ms / 1000 + said.start == pytest.approx(second + 0.1, abs=0.1)
                assert sample.start_ms / 1000 + said.end == pytest.approx(second + 0.8, abs=0.1)
        assert task.conversations[1].value == " ".join(said.text for said in task.times)
