"""The trainer on several ranks: Ray Train starts them, sets up their process group, and ends them together.

In: what is to be trained, and how many ranks; a Ray that is connected. Out: the last checkpoint, or the one line that a
rank raised. `--workers 1` does without.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import StagesError, Stopped
from stages.ranks import World, never_stopped
from stages.trainer import Training, train

SAID, FAULT, STOP = "train.log", ".fault", ".stop"  # below the folder of the checkpoints, which all ranks reach
GLANCE = 0.2  # seconds between looks at what the first rank says


def train_on_ray(
    training: Training,
    workers: int,
    say: Callable[[str], object] = print,
    gpus: bool = False,
    asked: Callable[[], bool] = never_stopped,
) -> Path:
    """As `train`, on `workers` ranks with a GPU or a CPU each. asked: see World. Raises StagesError."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    class Ranks(TorchTrainer):
        def _register_sigint_handler(self, controller: Any) -> None:
            """Leave Ctrl-C to the command: Ray's own handler ends the process with 0 or 1."""

    out = Path(training.out)
    out.mkdir(parents=True, exist_ok=True)
    for left in (FAULT, STOP):
        (out / left).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="ola-train-") as folder, _heard(out, say, asked):
        ranks = Ranks(
            _rank,
            train_loop_config={"training": training, "gpus": gpus},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=gpus),
            run_config=ray.train.RunConfig(storage_path=folder),
        )
        try:
            ranks.fit()
        except Exception as error:  # Ray's words for it differ; the rank's own are in the file
            raise (Stopped if (out / STOP).exists() else StagesError)(_fault(out, error)) from error
    return (out / "model").resolve()


def _rank(config: dict[str, Any]) -> None:
    """One rank, in a process of Ray Train's."""
    import ray.train
    import ray.train.torch
    import torch

    training, context = config["training"], ray.train.get_context()
    device = ray.train.torch.get_device()
    if not config["gpus"]:
        torch.set_num_threads(1)
    out = Path(training.out)
    with (out / SAID).open("a", encoding="utf-8") as said:

        def say(line: str) -> None:
            said.write(f"{line}\n")
            said.flush()

        try:
            rank, ranks = context.get_world_rank(), context.get_world_size()
            train(training, World(rank, ranks, str(device), (out / STOP).exists), say)
        except StagesError as error:
            (out / FAULT).write_text(str(error), encoding="utf-8")
            raise


def _fault(out: Path, error: Exception) -> str:
    fault = out / FAULT
    if fault.exists():
        return fault.read_text(encoding="utf-8")
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    return (
        f"a rank ended: {lines[-1] if lines else type(error).__name__}; start again to go on after the last checkpoint"
    )


@contextmanager
def _heard(out: Path, say: Callable[[str], object], asked: Callable[[], bool]) -> Iterator[None]:
    """Say what the first rank says while the block lasts, and tell it when a stop is asked for, once it trains."""
    path = out / SAID
    path.touch()
    over = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as said:
            said.seek(0, 2)
            last = trains = False
            while not last:
                last = over.wait(GLANCE)
                for line in said:
                    trains = True
                    say(line.rstrip("\n"))
                if trains and asked():
                    (out / STOP).touch()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
