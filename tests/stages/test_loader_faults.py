"""The loader with bad data: unreadable samples are named and skipped, or end the training."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from manifests.records import PackedTask
from ola.processor import OlaProcessor
from stages.errors import StagesError
from stages.samples import Sample, turn
from tests.stages.shardset import Members, loader, sample, write_rows, write_set

pytestmark = pytest.mark.usefixtures("one_thread")


def damaged(name: str) -> tuple[Sample, Members]:
    """A sample with one fault."""
    said, members = sample(7, "subtitle")
    frames = list(said.pictures.bytes)
    if name == "a frame that is no JPEG":
        members["mjpg"] = members["mjpg"][: frames[0]] + b"x" * (len(members["mjpg"]) - frames[0])
    elif name == "a JPEG that is cut":
        members["mjpg"] = members["mjpg"][: sum(frames) - 400] + bytes(400)
        members["mjpg"] = members["mjpg"][: sum(frames) - 400]
        said = said.model_copy(
            update={"pictures": said.pictures.model_copy(update={"bytes": (*frames[:-1], frames[-1] - 400)})}
        )
    elif name == "frames of other sizes":
        members["mjpg"] += b"x"
    elif name == "no wav":
        members["wav"] = b"RIFF"
    elif name == "a wav that is cut":
        members["wav"] = members["wav"][:-1000]
    elif name == "a tag too many":
        long = turn("human", "<speech><image>\nIs this <image>?")
        said = _asking(said, long)
    elif name == "too long to fit":
        said = _asking(said, turn("human", "<speech><image>\n" + "why " * 4000))
    return said, members


def _asking(said: Sample, asked: Any) -> Sample:
    task = said.tasks[0]
    return said.model_copy(
        update={"tasks": (task.model_copy(update={"conversations": (asked, task.conversations[1])}),)}
    )


DAMAGE = {
    "a frame that is no JPEG": "cannot identify image file",
    "a JPEG that is cut": "image file is truncated",
    "frames of other sizes": "expected 6 frames of .* bytes, got a member",
    "no wav": "EOFError",
    "a wav that is cut": "wav: expected 24000 samples, as in the json, got 23500",
    "a tag too many": "the turns have 2 <image> tags for 1 images or videos",
    "too long to fit": "the prompt takes .* positions at least",
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_a_bad_sample_is_named_with_its_shard(fault: str, tmp_path: Path, processor: OlaProcessor) -> None:
    write_set(tmp_path, [damaged(fault)], shards=1)
    where = f"{tmp_path}/train-000000.tar: sample clip0007-omni, task clip0007-omni-subtitle-0: "
    with pytest.raises(StagesError, match=re.escape(where) + DAMAGE[fault]) as error:
        list(loader(tmp_path, processor, sequence_tokens=100_000))
    assert "\n" not in str(error.value)


def test_a_shard_with_another_tasks_sample_is_named(tmp_path: Path, processor: OlaProcessor) -> None:
    [row] = write_set(tmp_path, [sample(0, "subtitle")], shards=1)
    other = PackedTask(**{name: getattr(row, name) for name in row.__slots__} | {"id": "another"})
    write_rows(tmp_path, [other])
    with pytest.raises(StagesError, match="sample clip0000-omni, task another: the sample does not have this task"):
        list(loader(tmp_path, processor))


def test_bad_json_and_a_tar_that_is_none_are_named(tmp_path: Path, processor: OlaProcessor) -> None:
    write_set(tmp_path, [sample(0, "subtitle")], shards=1)
    tar = tmp_path / "train-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:512] + b"[" + whole[513:])
    with pytest.raises(StagesError, match=r"sample clip0000-omni, task .*: json: : Invalid JSON"):
        list(loader(tmp_path, processor))
    tar.write_bytes(b"x" * len(whole))
    with pytest.raises(StagesError, match=r"train-000000.tar: sample at byte 0, task .*: byte 0: header checksum"):
        list(loader(tmp_path, processor))


def test_a_shard_that_goes_away_is_named_whatever_the_tolerance(tmp_path: Path, processor: OlaProcessor) -> None:
    write_set(tmp_path, [sample(0, "subtitle")], shards=1)
    ready = loader(tmp_path, processor, tolerance=0.9)
    (tmp_path / "train-000000.tar").unlink()
    with pytest.raises(StagesError, match=r"train-000000.tar: cannot be read: .*No such file"):
        list(ready)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_samples_are_left_out_within_the_tolerance(workers: int, tmp_path: Path, processor: OlaProcessor) -> None:
    good = [sample(n, "image_caption") for n in range(9)]
    bad, members = sample(9, "image_caption")
    write_set(tmp_path, [*good, (bad, {**members, "jpg": b"no picture"})])
    steps = list(loader(tmp_path, processor, tolerance=0.1, epochs=2.0, workers=workers))
    for epoch in (0, 1):
        of_epoch = [step for step in steps if step.epoch == epoch]
        [line] = [line for step in of_epoch for line in step.skipped]
        assert line.startswith(f"{tmp_path}/train-000001.tar: sample clip0009-image, task clip0009-image-image_caption")
        assert sorted(row for step in of_epoch for row in step.rows) == list(range(10))
        assert sum(len(pack.rows) for step in of_epoch for pack in step.packs) == 9
        assert all(len(pack.rows) == len(pack.prompts) for step in of_epoch for pack in step.packs)
    with pytest.raises(StagesError, match=r"^.*train-000001.tar: sample clip0009-image"):
        list(loader(tmp_path, processor, tolerance=0.0, workers=workers))


def test_more_bad_samples_than_the_tolerance_stop(tmp_path: Path, processor: OlaProcessor) -> None:
    good = [sample(n, "image_caption") for n in range(8)]
    bad = [(said, {**members, "jpg": b"no"}) for said, members in (sample(n, "image_caption") for n in (8, 9))]
    write_set(tmp_path, [*good, *bad])
    with pytest.raises(StagesError, match=r"2 tasks of epoch 0 cannot be read; `tolerance` allows 1: .*sample clip"):
        list(loader(tmp_path, processor, tolerance=0.05))


def test_a_pack_that_is_all_bad_is_stood_in_for(tmp_path: Path, processor: OlaProcessor) -> None:
    bad, members = sample(1, "image_caption")
    write_set(tmp_path, [sample(0, "image_caption"), (bad, {**members, "jpg": b"no"})])
    [step] = loader(tmp_path, processor, tolerance=0.5, sequence_tokens=10)
    assert sorted((pack.rows, pack.counts) for pack in step.packs) == [((0,), False), ((0,), True)]
    assert len(step.skipped) == 1


def test_nothing_can_stand_in_where_nothing_can_be_read(tmp_path: Path, processor: OlaProcessor) -> None:
    bad, members = sample(1, "image_caption")
    write_set(tmp_path, [(bad, {**members, "jpg": b"no"})], shards=1)
    with pytest.raises(StagesError, match=r"no task of the first step can be read: .*sample clip0001-image"):
        list(loader(tmp_path, processor, tolerance=0.5))


def test_an_error_in_a_worker_is_the_same_line(tmp_path: Path, processor: OlaProcessor) -> None:
    write_set(tmp_path, [damaged("no wav")], shards=1)
    said = []
    for workers in (0, 1):
        with pytest.raises(StagesError) as error:
            list(loader(tmp_path, processor, workers=workers))
        said.append(str(error.value))
    assert said[0] == said[1]
    assert error.tb.tb_next is not None  # a traceback that is kept does not keep the worker
    assert not torch.multiprocessing.active_children()


def test_a_killed_worker_is_one_line_and_no_hang(mixed: Path, processor: OlaProcessor) -> None:
    steps = iter(loader(mixed, processor, workers=1, epochs=50.0, batch=1))
    next(steps)
    [worker] = torch.multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(StagesError, match=r"a process of the loader died .*too little memory") as error:
        list(steps)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 30
