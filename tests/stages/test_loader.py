"""The loader: the same steps however many ranks and workers, each bad sample named, and nothing that piles up."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from manifests import storage
from manifests.records import PackedTask
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Wave
from stages.catalogue import catalogue
from stages.errors import StagesError
from stages.loader import Loader, Step
from stages.order import Order
from stages.reading import OPEN_SHARDS
from stages.samples import Sample, Task, turn
from stages.shards import split_frames
from tests.object_store import bucket
from tests.ola import tiny
from tests.stages.shardset import Members, phase, sample, write_rows, write_set

WATCHED = ("video_caption", "video_qa")
HEARD = ("cross_modal_qa", "speech_recognition", "subtitle")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker; several threads would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def processor() -> OlaProcessor:
    return OlaProcessor(tiny.tokenizer(), tiny.config())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 tasks of 6 kinds in one folder."""
    folder = tmp_path_factory.mktemp("mixed")
    omni = [sample(n, *HEARD) for n in range(6)]
    watched = [sample(n, *WATCHED) for n in range(10, 14)]
    seen = [sample(n, "image_caption") for n in range(20, 26)]
    for name, content in {"omni": omni, "video": watched, "image": seen}.items():
        write_set(folder / name, content)
    return folder


def loader(folder: Path, processor: OlaProcessor, **changes: Any) -> Loader:
    """Over all sets below the folder, or the one that it is; the order's settings among the loader's own."""
    own = {name: changes.pop(name) for name in ("rank", "ranks", "workers", "first", "last") if name in changes}
    sets = [str(folder)] if (folder / "shards.parquet").exists() else sorted(map(str, folder.iterdir()))
    found = catalogue(sets)
    order = Order(found, phase(**changes), 0)
    return Loader(found, order, processor, **{"first": 0, "last": order.steps()} | own)


def one_task(folder: Path, processor: OlaProcessor, content: tuple[Sample, Members], **changes: Any) -> Prompt:
    """The prompt of a set's only task."""
    write_set(folder, [content], shards=1)
    [step] = loader(folder, processor, **changes)
    return step.packs[0].prompts[0]


def what(steps: list[Step]) -> list[tuple[int, int, list[tuple[int, ...]]]]:
    """What comes: step, epoch, and the rows of each pack that counts."""
    return [(step.number, step.epoch, [pack.rows for pack in step.packs if pack.counts]) for step in steps]


def same(one: Prompt, other: Prompt) -> bool:
    """Whether all tensors of two prompts are equal."""
    pairs = [(one.input_ids, other.input_ids), (one.labels, other.labels)]
    pairs += [
        pair for a, b in zip(one.visuals, other.visuals, strict=True) for pair in zip(a.views, b.views, strict=True)
    ]
    pairs += [(a.mel, b.mel) for a, b in zip(one.sounds, other.sounds, strict=True)]
    pairs += [(a.fbank, b.fbank) for a, b in zip(one.sounds, other.sounds, strict=True)]
    return all(torch.equal(a, b) and a.stride() == b.stride() for a, b in pairs if a is not None and b is not None)


@pytest.fixture(scope="module")
def whole(mixed: Path, processor: OlaProcessor) -> list[Step]:
    """Two epochs, read in this process by one rank."""
    return list(loader(mixed, processor, epochs=2.0))


def test_each_task_comes_once_an_epoch(whole: list[Step]) -> None:
    for epoch in (0, 1):
        rows = [row for step in whole if step.epoch == epoch for pack in step.packs for row in pack.rows]
        assert sorted(rows) == list(range(32))
    assert [step.number for step in whole] == list(range(len(whole)))
    assert all(sorted(step.rows) == sorted(row for pack in step.packs for row in pack.rows) for step in whole)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 1), (2, 0), (5, 0)])
def test_ranks_and_workers_change_nothing(
    ranks: int, workers: int, mixed: Path, processor: OlaProcessor, whole: list[Step]
) -> None:
    """2 ranks x 1 worker, 1 rank x 2 workers, and more ranks than a step has packs."""
    each = [
        list(loader(mixed, processor, epochs=2.0, rank=rank, ranks=ranks, workers=workers)) for rank in range(ranks)
    ]
    for together in zip(whole, *each, strict=True):
        alone, *parts = together
        assert len({len(part.packs) for part in parts}) == 1
        counted = [pack for part in parts for pack in part.packs if pack.counts]
        assert Counter(pack.rows for pack in counted) == Counter(pack.rows for pack in alone.packs)
        assert all(np.array_equal(part.rows, alone.rows) for part in parts)
        by_rows = {pack.rows: pack.prompts for pack in alone.packs}
        for pack in counted:
            assert all(same(a, b) for a, b in zip(pack.prompts, by_rows[pack.rows], strict=True))


def test_a_rank_without_a_pack_has_one_that_stands_in(mixed: Path, processor: OlaProcessor) -> None:
    packs = len(next(iter(loader(mixed, processor))).packs)
    assert packs == 3
    parts = [next(iter(loader(mixed, processor, rank=rank, ranks=2))).packs for rank in range(2)]
    assert [[pack.counts for pack in part] for part in parts] == [[True, True], [True, False]]
    assert parts[1][1].rows == parts[1][0].rows
    beyond = next(iter(loader(mixed, processor, rank=4, ranks=5))).packs
    assert [pack.counts for pack in beyond] == [False]
    assert len(beyond[0].prompts) == len(beyond[0].rows) > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_any_step_can_be_the_first(workers: int, mixed: Path, processor: OlaProcessor, whole: list[Step]) -> None:
    end = len(whole)
    for first in (0, 1, end // 2 + 1, end - 1, end) if workers == 0 else (end - 2, end):
        tail = list(loader(mixed, processor, epochs=2.0, first=first, workers=workers))
        assert what(tail) == what(whole[first:])


def test_the_trainers_random_numbers_are_left_alone(mixed: Path, processor: OlaProcessor) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(iter(loader(mixed, processor)))
    assert torch.equal(torch.rand(3), expected)


def test_a_task_is_given_what_its_tags_name(tmp_path: Path, processor: OlaProcessor) -> None:
    said, members = sample(0, *HEARD)
    write_set(tmp_path, [(said, members)], shards=1)
    [step] = loader(tmp_path, processor, sequence_tokens=10_000)
    [pack] = step.packs
    names = catalogue([str(tmp_path)]).ids(pack.rows)
    given = {name.split("-")[2]: prompt for name, prompt in zip(names, pack.prompts, strict=True)}
    assert (len(given["speech_recognition"].visuals), len(given["speech_recognition"].sounds)) == (0, 1)
    assert (len(given["subtitle"].visuals), len(given["subtitle"].sounds)) == (1, 1)
    # decoded once, whatever number of tasks in the pack use it
    assert given["subtitle"].visuals[0] is given["cross_modal_qa"].visuals[0]
    assert given["subtitle"].sounds[0] is given["speech_recognition"].sounds[0]


def test_a_prompt_is_what_the_processor_makes_of_the_stored_media(tmp_path: Path, processor: OlaProcessor) -> None:
    said, members = sample(3, "subtitle", frames=9)
    found = one_task(tmp_path, processor, (said, members), frames=4)
    frames = [Image.open(io.BytesIO(bytes(view))) for view in split_frames(members["mjpg"], said.pictures.bytes)]
    video = processor.video([frames[index] for index in (0, 2, 5, 8)])
    sound = processor.sound(Wave(np.frombuffer(members["wav"][44:], np.int16)))
    turns = [(one.speaker, one.value) for one in said.tasks[0].conversations]
    assert same(found, processor.sample(turns, [video], [sound]))
    assert found.visuals[0].views[0].dtype == torch.uint8


def test_an_image_and_a_spoken_question(tmp_path: Path, processor: OlaProcessor) -> None:
    said, members = sample(0, "spoken_qa")
    asked = turn("human", "<image>\nUser's question in speech: <speech>\n")
    task = Task(id="q", kind="spoken_qa", conversations=(asked, turn("gpt", "Yes.")))
    found = one_task(tmp_path, processor, (said.model_copy(update={"tasks": (task,)}), members))
    image = processor.image(Image.open(io.BytesIO(members["jpg"])))
    sound = processor.sound(Wave(np.frombuffer(members["wav"][44:], np.int16)))
    turns = [("human", asked.value), ("gpt", "Yes.")]
    assert same(found, processor.sample(turns, [image], [sound], spoken=True))


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
    "frames of other sizes": "6 frames of .* bytes do not fill a member",
    "no wav": "EOFError",
    "a wav that is cut": "the .wav has 23500 samples, the json says 24000",
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
    with pytest.raises(StagesError, match="sample clip0000-omni, task another: the sample has no such task"):
        list(loader(tmp_path, processor))


def test_bad_json_and_a_tar_that_is_none_are_named(tmp_path: Path, processor: OlaProcessor) -> None:
    write_set(tmp_path, [sample(0, "subtitle")], shards=1)
    tar = tmp_path / "train-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:512] + b"[" + whole[513:])
    with pytest.raises(StagesError, match=r"sample clip0000-omni, task .*: json: : Invalid JSON"):
        list(loader(tmp_path, processor))
    tar.write_bytes(b"x" * len(whole))
    with pytest.raises(
        StagesError, match=r"train-000000.tar: sample at byte 0, task .*: byte 0: the header's checksum"
    ):
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
    with pytest.raises(
        StagesError, match=r"2 tasks of epoch 0 cannot be read where `tolerance` allows 1: .*sample clip"
    ):
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


def test_files_and_memory_do_not_grow(mixed: Path, processor: OlaProcessor) -> None:
    """Thousands of tensors pass from a worker to this process."""
    me = psutil.Process()
    steps = iter(loader(mixed, processor, workers=1, epochs=40.0))
    kept = [next(steps) for _ in range(4)]  # a step's tensors may all be held at once
    files, shared = me.num_fds(), len(os.listdir("/dev/shm"))
    tensors = sum(len(prompt.visuals) + 2 for step in kept for pack in step.packs for prompt in pack.prompts)
    memory = me.memory_info().rss
    for _ in range(60):
        kept = [*kept[1:], next(steps)]
    assert tensors > 50
    assert me.num_fds() - files < 10
    assert me.memory_info().rss - memory < 60e6
    del steps, kept
    assert not torch.multiprocessing.active_children()
    assert len(os.listdir("/dev/shm")) <= shared


def test_shards_are_closed_again(tmp_path: Path, processor: OlaProcessor) -> None:
    """More shards than may be open at once."""
    count = OPEN_SHARDS + 40
    write_set(tmp_path, [_chat(n) for n in range(count)], shards=count)
    me = psutil.Process()
    before = me.num_fds()
    steps = iter(loader(tmp_path, processor, batch=1, sequence_tokens=40))
    most = max(me.num_fds() - before for _ in steps)
    assert OPEN_SHARDS / 2 < most <= OPEN_SHARDS + 10


def _chat(number: int) -> tuple[Sample, Members]:
    said, _ = sample(number, "chat")
    return said, {}


SCRIPT = """
import sys
from pathlib import Path
from tests.ola import tiny
from tests.stages.test_loader import loader
from ola.processor import OlaProcessor

if __name__ == "__main__":
    for step in loader(Path(sys.argv[1]), OlaProcessor(tiny.tokenizer(), tiny.config()), workers=1, epochs=1e4):
        print(step.number, flush=True)
"""


def test_a_trainer_that_ends_leaves_no_process(mixed: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    trainers = {
        end: subprocess.Popen(
            [sys.executable, str(script), str(mixed)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )
        for end in (signal.SIGINT, signal.SIGKILL)
    }  # fmt: skip
    for end, trainer in trainers.items():
        assert trainer.stdout is not None
        assert trainer.stdout.readline().strip() == "0"
        family = psutil.Process(trainer.pid).children(recursive=True)
        assert len(family) >= 3  # torch's keeper of shared memory, the server, the worker
        if end == signal.SIGINT:
            os.killpg(trainer.pid, end)  # as a terminal does
        else:
            trainer.kill()
        _, complaints = trainer.communicate(timeout=60)
        assert complaints.count("Traceback") == (end == signal.SIGINT), complaints
        _, left = psutil.wait_procs(family, timeout=30)
        assert not left


def test_shards_in_an_object_store_give_the_same(mixed: Path, processor: OlaProcessor) -> None:
    sets = [path for path in sorted(mixed.iterdir()) if path.name != "image"]
    steps = []
    with bucket("sets") as uri:
        for file in (file for folder in sets for file in folder.iterdir()):
            storage.write_bytes(f"{uri}/{file.parent.name}/{file.name}", file.read_bytes())
        for sources in ([str(folder) for folder in sets], [f"{uri}/{folder.name}" for folder in sets]):
            found = catalogue(sources)
            steps.append(list(Loader(found, Order(found, phase(), 0), processor, 0, 2)))
    assert what(steps[0]) == what(steps[1])
    for local, remote in zip(*steps, strict=True):
        for one, other in zip(local.packs, remote.packs, strict=True):
            assert all(same(a, b) for a, b in zip(one.prompts, other.prompts, strict=True))
