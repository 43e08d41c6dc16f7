"""Training that begins while the run still packs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.pack.lanes import ShardLane
from pipeline.pack.publish import pack
from pipeline.pack.settings import PackSettings
from stages import catalogue as shelves
from stages import sampling
from stages.catalogue import LiveCatalogue, read_catalogue
from stages.errors import StagesError
from stages.trainer import train
from tests.pipeline.test_pack_tasks import annotated
from tests.stages.lessons import read, short, training, write_model

KEPT = PackSettings(val=0, shard_mb=1)


class Packer:
    """A run that packs, and closes a shard whenever it is told to."""

    def __init__(self, root: Path) -> None:
        self.root, self.go, self.closed, self.shards = root, threading.Semaphore(0), 0, 0
        self.plan = annotated(root, [range(4), range(4, 8)])
        self.thread = threading.Thread(target=pack, args=(self.plan, KEPT, self._write))
        self.thread.start()
        while not (root / shelves.PACKING).exists():
            time.sleep(0.01)

    def _write(self, make: Callable[[], Any], numbers: Sequence[int]) -> None:
        lane = make()
        for number in numbers:
            if isinstance(lane, ShardLane):
                self.shards = len(numbers)
                self.go.acquire()
            lane(number)
            self.closed += isinstance(lane, ShardLane)

    def finish(self) -> None:
        self.go.release(100)
        self.thread.join()


def test_nothing_is_missed_or_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(sampling, "SHUFFLED_SHARDS", 1)
    root, model = tmp_path / "run", write_model(tmp_path / "model")
    packer, said = Packer(root), list[tuple[str, int]]()

    def say(line: str) -> None:
        said.append((line, packer.closed))
        packer.go.release()

    packer.go.release()
    live = training((str(root),), model, tmp_path / "out", short(steps=None, batch=1), live=True, save_every=3)
    train(live, say=say)
    packer.finish()
    steps = [closed for line, closed in said if line.startswith("step ")]
    assert packer.shards > 1
    assert steps[0] < packer.shards, "it has begun before all was packed"
    tasks = Counter(task for (_, task), count in read(tmp_path / "out").items() for _ in range(count))
    assert set(tasks.values()) == {1}
    assert set(tasks) == set(read_catalogue([str(root)]).ids(range(len(read_catalogue([str(root)])))))
    assert not (root / shelves.PACKING).exists()


def test_what_is_packing_is_what_will_be_packed(tmp_path: Path) -> None:
    packer = Packer(tmp_path)
    before = read_catalogue([str(tmp_path)], live=True)
    packer.finish()
    after = read_catalogue([str(tmp_path)], live=True)
    assert isinstance(before, LiveCatalogue)
    assert not isinstance(after, LiveCatalogue)
    assert before.digest == after.digest
    assert before.locate(range(len(before))) == after.locate(range(len(after)))


def test_a_run_that_packs_no_more_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(shelves, "CLOSE_TIMEOUT", 0.1)
    packer = Packer(tmp_path)
    with pytest.raises(StagesError, match=r"train-000000.tar: no shard was closed for .*still packs"):
        read_catalogue([str(tmp_path)], live=True).locate([0])
    packer.finish()
