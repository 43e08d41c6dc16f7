"""Train on several ranks: Ray Train starts them, sets up their process group, and ends them together.

In: a training and the number of ranks; Ray must be connected. Out: the last checkpoint, or a StagesError with the
message of the rank that failed. `--workers 1` does not use this module.
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

LOG, FAULT, STOP = "train.log", ".fault", ".stop"  # files in the folder of the checkpoints, which all ranks share
POLL_SECONDS = 0.2  # between reads of the first rank's log


def train_on_ray(
    training: Training,
    workers: int,
    say: Callable[[str], object] = print,
    gpus: bool = False,
    stop_requested: Callable[[], bool] = never_stopped,
) -> Path:
    """Run `train` on `workers` ranks, each with a GPU or a CPU. stop_requested: see World. Raises StagesError."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    class Ranks(TorchTrainer):
        def _register_sigint_handler(self, controller: Any) -> None:
            """Do not install Ray's handler of Ctrl-C: it ends the process with 0 or 1."""

    out = Path(training.out)
    out.mkdir(parents=True, exist_ok=True)
    for stale in (FAULT, STOP):
        (out / stale).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="ola-train-") as folder, _forward_log(out, say, stop_requested):
        ranks = Ranks(
            _run_rank,
            train_loop_config={"training": training, "gpus": gpus},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=gpus),
            run_config=ray.train.RunConfig(storage_path=folder),
        )
        try:
            ranks.fit()
        except Exception as error:  # Ray changes the message; the file has the rank's own
            raise (Stopped if (out / STOP).exists() else StagesError)(_fault_message(out, error)) from error
    return (out / "model").resolve()


def _run_rank(config: dict[str, Any]) -> None:
    """Train as one rank in a process of Ray Train."""
    import ray.train
    import ray.train.torch
    import torch

    training, context = config["training"], ray.train.get_context()
    device = ray.train.torch.get_device()
    if not config["gpus"]:
        torch.set_num_threads(1)
    out = Path(training.out)
    with (out / LOG).open("a", encoding="utf-8") as log:

        def say(line: str) -> None:
            log.write(f"{line}\n")
            log.flush()

        try:
            rank, ranks = context.get_world_rank(), context.get_world_size()
            train(training, World(rank, ranks, str(device), (out / STOP).exists), say)
        except StagesError as error:
            (out / FAULT).write_text(str(error), encoding="utf-8")
            raise


def _fault_message(out: Path, error: Exception) -> str:
    fault = out / FAULT
    if fault.exists():
        return fault.read_text(encoding="utf-8")
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    return (
        f"a rank ended: {lines[-1] if lines else type(error).__name__}; start again to resume from the last checkpoint"
    )


@contextmanager
def _forward_log(out: Path, say: Callable[[str], object], stop_requested: Callable[[], bool]) -> Iterator[None]:
    """Print the log of the first rank during the block; request a stop from the ranks when `stop_requested` does."""
    path = out / LOG
    path.touch()
    over = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as log:
            log.seek(0, 2)
            last = is_training = False
            while not last:
                last = over.wait(POLL_SECONDS)
                for line in log:
                    is_training = True
                    say(line.rstrip("\n"))
                if is_training and stop_requested():
                    (out / STOP).touch()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
