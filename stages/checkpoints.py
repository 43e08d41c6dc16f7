"""Where a phase's training stands, on disk: folders that are whole or not there.

    <out>/<phase>/step-000100/   config.json, tokenizer, model.safetensors     loads as any model folder does
                                 optimizer.safetensors, training.json, DONE
    <out>/<phase>/read/, log/    Parquet: the tasks read and the figures of the steps up to each checkpoint

In: tensors of all ranks, gathered. Out: the last whole checkpoint. Writing goes on in a thread beside the training, in
a draft folder that is renamed at the end; what a kill or a full disk leaves is never read.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from stages.errors import StagesError
from stages.parameters import trained_parameters

DONE, STATE, OPTIMIZER, DRAFT = "DONE", "training.json", "optimizer.safetensors", ".draft"
FAREWELL = 5.0  # seconds for a checkpoint that is being written when Ctrl-C comes
NAMED, LONGEST = 3, 120  # settings that an error names, and characters of a value
MASTER = "master"  # a trained weight in float32, where the model is kept in fewer bits


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint: its folder, and how many steps it has behind it."""

    folder: Path
    step: int


class Checkpoints:
    """Those of one phase. facts: what the steps follow from; a checkpoint of other facts cannot be gone on from."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], keep: int) -> None:
        self.folder, self.facts, self.keep = folder, json.loads(json.dumps(facts)), keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leaves no thread behind, but after Ctrl-C; an error that is on its way goes before one of writing."""
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join(FAREWELL if issubclass(kind, KeyboardInterrupt) else None)

    def last(self) -> Saved | None:
        """The newest whole checkpoint. StagesError where it is of another recipe or of other data."""
        found = sorted(path.parent for path in self.folder.glob(f"step-*/{DONE}"))
        if not found:
            return None
        state = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))
        # a fact that this version does not know is no difference
        there = {name: state["facts"].get(name) for name in self.facts}
        if changed := list(differences(there, self.facts)):
            raise StagesError(
                f"{found[-1]}: this checkpoint has other settings: {'; '.join(changed[:NAMED])}"
                f"{f'; and {len(changed) - NAMED} more' if len(changed) > NAMED else ''}; "
                "go on with the settings of the checkpoint, or name another --out"
            )
        return Saved(found[-1], int(state["step"]))

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Have `write` fill a checkpoint's folder while training goes on; waits for the one before."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(step, write), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the last one is whole. StagesError where it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            good = self.last()
            raise StagesError(
                f"{self.folder}: the checkpoint could not be saved: {error}; "
                + (f"the last good one is {good.folder.name}" if good else "there is none yet")
            ) from error

    def _write(self, step: int, write: Callable[[Path], None]) -> None:
        draft = self.folder / f"{DRAFT}-{step:06d}"
        try:
            for left in self.folder.glob(f"{DRAFT}-*"):  # of trainings that were killed
                shutil.rmtree(left, ignore_errors=True)
            draft.mkdir(parents=True)
            write(draft)
            (draft / STATE).write_text(json.dumps({"step": step, "facts": self.facts}, indent=1), encoding="utf-8")
            (draft / DONE).touch()
            _to_disk(draft)
            draft.rename(self.folder / f"step-{step:06d}")
            for old in sorted(path.parent for path in self.folder.glob(f"step-*/{DONE}"))[: -self.keep]:
                (old / DONE).unlink()  # first, so that it is not read when only half of it is left
                shutil.rmtree(old)
        except (OSError, SafetensorError, RuntimeError) as error:
            self._error = error
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder of a training; the kernel lets go when the process ends, however. StagesError if another does."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StagesError(f"{out}: another training is at work there; wait for it, or end it") from None
        yield


def gathered(model: nn.Module, optimizer: torch.optim.Optimizer, dtype: torch.dtype, mine: bool) -> tuple[Any, Any]:
    """Copies on the CPU of the weights, in `dtype`, and of the optimizer's tensors; {} on ranks that do not write.

    All ranks must call it. BEATs stays float32; weights that `dtype` would round are kept whole beside the optimizer's.
    """
    weights, rest = dict[str, Tensor](), dict[str, Tensor]()
    for name, parameter in model.named_parameters():
        whole = _whole(parameter)
        if mine:
            weights[name] = whole.to("cpu", whole.dtype if "beats" in name else dtype, copy=True)
    for name, parameter in trained_parameters(model):
        kept = (
            {**optimizer.state[parameter], MASTER: parameter}
            if dtype != parameter.dtype
            else optimizer.state[parameter]
        )
        for key, tensor in kept.items():
            whole = _whole(tensor)
            if mine:
                rest[f"{name}/{key}"] = whole.to("cpu", copy=True)
    return weights, rest


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer, and weights that were kept whole, what `gathered` took. StagesError where it does not fit."""
    try:
        kept = load_file(folder / OPTIMIZER)
        counts_on = None if optimizer.defaults.get("fused") else "cpu"  # where AdamW wants its count of steps
        for name, parameter in trained_parameters(model):
            found = {key.rpartition("/")[2]: tensor for key, tensor in kept.items() if key.rpartition("/")[0] == name}
            if (master := found.pop(MASTER, None)) is not None:
                parameter.data.copy_(_placed(master, parameter))
            optimizer.state[parameter] = {
                key: _placed(tensor, parameter) if tensor.ndim else tensor.to(counts_on or parameter.device)
                for key, tensor in found.items()
            }
    except (OSError, SafetensorError) as error:
        raise StagesError(f"{folder / OPTIMIZER}: {error}; remove the folder to go on from the one before") from error


def write_model(folder: Path, weights: Mapping[str, Tensor], rest: Mapping[str, Tensor]) -> None:
    """The tensors of a checkpoint."""
    save_file(dict(weights), folder / "model.safetensors", {"format": "pt"})
    save_file(dict(rest), folder / OPTIMIZER)


def _whole(tensor: Tensor) -> Tensor:
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach()


def _placed(tensor: Tensor, like: Tensor) -> Tensor:
    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements) if isinstance(like, DTensor) else tensor


def _to_disk(folder: Path) -> None:
    """Before the rename, so that a power cut does not leave a whole name on half a folder."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def differences(there: Any, here: Any, key: str = "") -> Iterator[str]:
    """Yield `key: … there, … here` for each value that differs, with its path through the mappings."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for name in sorted(there.keys() | here.keys()):
            yield from differences(there.get(name), here.get(name), f"{key}.{name}" if key else name)
    elif there != here:
        yield f"{key}: {_brief(there)} there, {_brief(here)} here"


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
