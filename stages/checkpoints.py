"""Write and read the checkpoints of a phase: folders that are complete or absent.

    <out>/<phase>/step-000100/   config.json, tokenizer, model.safetensors     loads like any model folder
                                 optimizer.safetensors, training.json, DONE
    <out>/<phase>/read/, log/    Parquet: the tasks read and the figures of all steps up to each checkpoint

In: tensors gathered from all ranks. Out: the last complete checkpoint. A thread writes in the background into a draft
folder, which is renamed at the end; incomplete drafts after a kill or on a full disk are never read.
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
INTERRUPT_WAIT = 5.0  # seconds that Ctrl-C waits for a checkpoint that is being written
MAX_SETTINGS, MAX_CHARACTERS = 3, 120  # limits of an error: settings, and characters of a value
MASTER = "master"  # key of a trained weight in float32, if the model is stored in a shorter dtype


@dataclass(frozen=True)
class SavedCheckpoint:
    """A complete checkpoint: its folder and the number of finished steps."""

    folder: Path
    step: int


class Checkpoints:
    """The checkpoints of one phase. facts: settings that affect the steps; resuming with other facts is an error."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], keep: int) -> None:
        self.folder, self.facts, self.keep = folder, json.loads(json.dumps(facts)), keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the writing thread, after Ctrl-C only a few seconds. A raised error hides an error of writing."""
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join(INTERRUPT_WAIT if issubclass(kind, KeyboardInterrupt) else None)

    def last(self) -> SavedCheckpoint | None:
        """Return the newest complete checkpoint. Raises StagesError if it belongs to another recipe or other data."""
        found = sorted(path.parent for path in self.folder.glob(f"step-*/{DONE}"))
        if not found:
            return None
        state = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))
        # facts that this version does not know are ignored
        saved = {name: state["facts"].get(name) for name in self.facts}
        if changed := list(differences(saved, self.facts)):
            raise StagesError(
                f"{found[-1]}: this checkpoint has other settings: {'; '.join(changed[:MAX_SETTINGS])}"
                f"{f'; and {len(changed) - MAX_SETTINGS} more' if len(changed) > MAX_SETTINGS else ''}; "
                "use the settings of the checkpoint, or another --out"
            )
        return SavedCheckpoint(found[-1], int(state["step"]))

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write a checkpoint in the background: `write` fills its folder. Waits for the previous checkpoint."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(step, write), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last checkpoint is written. Raises StagesError if writing failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            good = self.last()
            raise StagesError(
                f"{self.folder}: the checkpoint could not be saved: {error}; "
                + (f"the last complete checkpoint is {good.folder.name}" if good else "no checkpoint exists yet")
            ) from error

    def _write(self, step: int, write: Callable[[Path], None]) -> None:
        draft = self.folder / f"{DRAFT}-{step:06d}"
        try:
            for stale in self.folder.glob(f"{DRAFT}-*"):  # drafts of trainings that were killed
                shutil.rmtree(stale, ignore_errors=True)
            draft.mkdir(parents=True)
            write(draft)
            (draft / STATE).write_text(json.dumps({"step": step, "facts": self.facts}, indent=1), encoding="utf-8")
            (draft / DONE).touch()
            _sync_folder(draft)
            draft.rename(self.folder / f"step-{step:06d}")
            for old in sorted(path.parent for path in self.folder.glob(f"step-*/{DONE}"))[: -self.keep]:
                (old / DONE).unlink()  # first, so that a half-deleted checkpoint is not read
                shutil.rmtree(old)
        except (OSError, SafetensorError, RuntimeError) as error:
            self._error = error
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Lock the folder of a training until the process ends. Raises StagesError if another process has the lock."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StagesError(f"{out}: another training uses this folder; wait for it, or end it") from None
        yield


def gather_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, dtype: torch.dtype, writes: bool
) -> tuple[Any, Any]:
    """Copy the weights, as `dtype`, and the optimizer's tensors to the CPU; return {} on ranks that do not write.

    All ranks must call the function. BEATs stays float32; trained weights that `dtype` would round are also copied
    unrounded, with the optimizer's tensors.
    """
    weights, rest = dict[str, Tensor](), dict[str, Tensor]()
    for name, parameter in model.named_parameters():
        full = _full_tensor(parameter)
        if writes:
            weights[name] = full.to("cpu", full.dtype if "beats" in name else dtype, copy=True)
    for name, parameter in trained_parameters(model):
        stored = (
            {**optimizer.state[parameter], MASTER: parameter}
            if dtype != parameter.dtype
            else optimizer.state[parameter]
        )
        for key, tensor in stored.items():
            full = _full_tensor(tensor)
            if writes:
                rest[f"{name}/{key}"] = full.to("cpu", copy=True)
    return weights, rest


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load the tensors of `gather_state` into the optimizer and trained weights. Raises StagesError if that fails."""
    try:
        stored = load_file(folder / OPTIMIZER)
        step_device = None if optimizer.defaults.get("fused") else "cpu"  # device of AdamW's step counter
        for name, parameter in trained_parameters(model):
            found = {key.rpartition("/")[2]: tensor for key, tensor in stored.items() if key.rpartition("/")[0] == name}
            if (master := found.pop(MASTER, None)) is not None:
                parameter.data.copy_(_distribute_like(master, parameter))
            optimizer.state[parameter] = {
                key: _distribute_like(tensor, parameter) if tensor.ndim else tensor.to(step_device or parameter.device)
                for key, tensor in found.items()
            }
    except (OSError, SafetensorError) as error:
        raise StagesError(
            f"{folder / OPTIMIZER}: {error}; remove the folder to resume from the previous one"
        ) from error


def write_model(folder: Path, weights: Mapping[str, Tensor], rest: Mapping[str, Tensor]) -> None:
    """Write the tensors of a checkpoint."""
    save_file(dict(weights), folder / "model.safetensors", {"format": "pt"})
    save_file(dict(rest), folder / OPTIMIZER)


def _full_tensor(tensor: Tensor) -> Tensor:
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach()


def _distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements) if isinstance(like, DTensor) else tensor


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk before its rename, so that a power cut leaves no incomplete folder with a final name."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def differences(saved: Any, current: Any, key: str = "") -> Iterator[str]:
    """Yield `key: … there, … here` for each value that differs, with its path through the mappings."""
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        for name in sorted(saved.keys() | current.keys()):
            yield from differences(saved.get(name), current.get(name), f"{key}.{name}" if key else name)
    elif saved != current:
        yield f"{key}: {_shorten(saved)} there, {_shorten(current)} here"


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
