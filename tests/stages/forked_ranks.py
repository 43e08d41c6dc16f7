"""Ranks forked from one process, and what kills one of them: `python -m tests.stages.forked_ranks FOLDER`.

A process of its own, since it must have no threads when it forks. For each place of a kill: two ranks train, one of
them dies there, and ranks of another number go on.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from stages import gradients, sharded_state, trainer
from stages.ranks import World
from tests.stages.lessons import short, training

KINDS = ("image_caption",)
RATES = {"visual_projector": 1e-3, "decoder": 1e-3}
RESUMED_ON = {"step": 1, "save": 3, "phases": 1}  # ranks that go on after a kill at this place


def plan(folder: Path, name: str) -> trainer.Training:
    """Two phases of two steps, a checkpoint each step."""
    phases = [short(name=name, lr=RATES, steps=2, batch=3) for name in ("first", "second")]
    shards = tuple(str(path) for path in sorted((folder / "shards").iterdir()))
    return training(shards, str(folder / "model"), folder / name, *phases, save_every=1)


def run_ranks(ranks: int, work: Callable[[World], object], store: Path) -> list[int]:
    """Fork the ranks, and return what each ended with: 0, 1 after an error, or minus the signal that killed it."""
    pids = []
    for rank in range(ranks):
        if pid := os.fork():
            pids.append(pid)
            continue
        code = 1
        try:
            torch.set_num_threads(1)
            each = dist.FileStore(str(store), ranks)  # type: ignore[attr-defined]
            dist.init_process_group("gloo", store=each, rank=rank, world_size=ranks, timeout=timedelta(seconds=60))
            work(World(rank, ranks))
            code = 0
        except (Exception, CheckpointException):  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def die_at(owner: Any, name: str, call: int) -> None:
    """Kill this process when a function has been called so many times; the last call is done, but does not return."""
    called, function = [0], getattr(owner, name)

    def counted(*given: Any, **options: Any) -> Any:
        called[0] += 1
        made = function(*given, **options)
        if called[0] == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    setattr(owner, name, counted)


PLACES: dict[str, tuple[Any, str, int]] = {
    "step": (gradients.Gradients, "compute", 2),  # gradients are there, the optimizer has not stepped
    "save": (sharded_state.RankFiles, "write_data", 2),  # this rank's file is written, the checkpoint is not complete
    "phases": (trainer, "open_model", 2),
}


def main() -> None:
    """Fail unless each kill ends both ranks, and the others go on to the end."""
    folder = Path(sys.argv[1])
    for place, ranks in RESUMED_ON.items():
        codes = run_ranks(2, partial(train_and_die, folder, place), folder / f"{place}-2")
        assert codes == [1, -signal.SIGKILL], (place, codes)
        codes = run_ranks(ranks, partial(train, folder, place), folder / f"{place}-again")
        assert codes == [0] * ranks, (place, codes)


def train(folder: Path, name: str, world: World) -> None:
    """Train, or go on."""
    trainer.train(plan(folder, name), world, len)


def train_and_die(folder: Path, place: str, world: World) -> None:
    """Train; the second rank dies."""
    if world.rank:
        die_at(*PLACES[place])
    train(folder, place, world)


if __name__ == "__main__":
    main()
