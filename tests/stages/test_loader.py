"""The loader: the same steps for any number of ranks and workers, without growing memory."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import weakref
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from manifests import storage
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Wave
from stages.catalogue import read_catalogue
from stages.decoding import OPEN_SHARDS, Pack
from stages.loader import Loader
from stages.samples import Sample, Task, turn
from stages.sampling import Order
from stages.shards import split_frames
from tests.object_store import bucket
from tests.stages.shardset import HEARD, Members, WholeLoader, WholeStep, loader, phase, sample, write_set

pytestmark = pytest.mark.usefixtures("one_thread")


def one_task(folder: Path, processor: OlaProcessor, content: tuple[Sample, Members], **changes: Any) -> Prompt:
    """The prompt of a set's only task."""
    write_set(folder, [content], shards=1)
    [step] = loader(folder, processor, **changes)
    prompt: Prompt = step.packs[0].prompts[0]
    return prompt


def what(steps: list[WholeStep]) -> list[tuple[int, int, list[tuple[int, ...]]]]:
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
def whole(mixed: Path, processor: OlaProcessor) -> list[WholeStep]:
    """Two epochs, read in this process by one rank."""
    return list(loader(mixed, processor, epochs=2.0))


def test_each_task_comes_once_an_epoch(whole: list[WholeStep]) -> None:
    for epoch in (0, 1):
        rows = [row for step in whole if step.epoch == epoch for pack in step.packs for row in pack.rows]
        assert sorted(rows) == list(range(32))
    assert [step.number for step in whole] == list(range(len(whole)))
    assert all(sorted(step.rows) == sorted(row for pack in step.packs for row in pack.rows) for step in whole)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 1), (2, 0), (5, 0)])
def test_ranks_and_workers_change_nothing(
    ranks: int, workers: int, mixed: Path, processor: OlaProcessor, whole: list[WholeStep]
) -> None:
    """2 ranks with 1 worker, 1 rank with 2 workers, and more ranks than packs in a step."""
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
def test_any_step_can_be_the_first(workers: int, mixed: Path, processor: OlaProcessor, whole: list[WholeStep]) -> None:
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
    names = read_catalogue([str(tmp_path)]).ids(pack.rows)
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
    """There are more shards than the limit on open ones."""
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
    """The reading process has a server that began before the environment named the store."""
    sets = [path for path in sorted(mixed.iterdir()) if path.name != "image"]

    def steps(sources: list[str]) -> list[WholeStep]:
        found = read_catalogue(sources)
        return list(WholeLoader(found, Order(found, phase(), 0), processor, 0, 2, workers=1))

    local = steps([str(folder) for folder in sets])
    with bucket("sets") as uri:
        for file in (file for folder in sets for file in folder.iterdir()):
            storage.write_bytes(f"{uri}/{file.parent.name}/{file.name}", file.read_bytes())
        remote = steps([f"{uri}/{folder.name}" for folder in sets])
    assert what(local) == what(remote)
    for one, other in zip(local, remote, strict=True):
        for pack, copy in zip(one.packs, other.packs, strict=True):
            assert all(same(a, b) for a, b in zip(pack.prompts, copy.prompts, strict=True))


def test_a_step_is_read_pack_by_pack(mixed: Path, processor: OlaProcessor) -> None:
    """And what was not asked for is not part of the next step."""
    whole = loader(mixed, processor, batch=8, sequence_tokens=500)
    alive, left = list[int](), weakref.WeakSet[Pack]()
    steps = iter(Loader(whole.catalogue, whole.order, processor, 0, 2))
    step = next(steps)
    for pack in islice(step.packs(), 7):
        left.add(pack)
        alive.append(len(left))
    assert len(alive) == 7
    assert max(alive) <= 2
    wanted = list(whole)[1].packs
    assert [pack.rows for pack in next(steps).packs()] == [pack.rows for pack in wanted]
