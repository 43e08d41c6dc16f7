"""Write and read the checkpoints of a phase: folders that are complete or absent.

    <out>/<phase>/step-000100/   state/, a file for each rank; config.json, tokenizer, training.json, DONE
                                 model.safetensors, in the phase's last checkpoint: loads like any model folder
    <out>/<phase>/read/, log/    Parquet: the tasks read and the figures of all steps up to each checkpoint

In: a function that writes this rank's share. Out: the last complete checkpoint. A thread of each rank writes in the
background into a draft folder, which the first rank renames at the end; incomplete drafts after a kill or on a full
disk are never read.
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

from safetensors import SafetensorError

from stages.errors import StagesError

DONE, FACTS, DRAFT = "DONE", "training.json", ".draft"
INTERRUPT_WAIT = 5.0  # seconds that Ctrl-C waits for a checkpoint that is being written
MAX_SETTINGS, MAX_CHARACTERS = 3, 120  # limits of an error: settings, and characters of a value


@dataclass(frozen=True)
class SavedCheckpoint:
    """A complete checkpoint: its folder and the number of finished steps."""

    folder: Path
    step: int


class Checkpoints:
    """The checkpoints of one phase, on one rank.

    facts: settings that affect the steps; resuming with other facts is an error. first: whether this is the first rank,
    which completes the folders to which all ranks write. start: folder of the weights from which the phase starts.
    """

    def __init__(
        self, folder: Path, facts: Mapping[str, Any], keep: int, first: bool = True, start: Path | None = None
    ) -> None:
        self.folder, self.facts, self.keep, self.first = folder, json.loads(json.dumps(facts)), keep, first
        self.start = "" if start is None else _path_from(folder, start)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Delete the drafts of trainings that were killed. No rank may write yet."""
        for stale in self.folder.glob(f"{DRAFT}-*") if self.first else ():
            shutil.rmtree(stale, ignore_errors=True)
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
        state = json.loads((found[-1] / FACTS).read_text(encoding="utf-8"))
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
        """Write a checkpoint in the background. Waits for the previous checkpoint. All ranks must call it.

        write: makes the folder and writes this rank's share; it returns on the first rank when all ranks have written.
        """
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
            write(draft)
            if self.first:
                self._complete(draft, step)
        except (OSError, SafetensorError, RuntimeError) as error:
            self._error = error
            shutil.rmtree(draft, ignore_errors=True)

    def _complete(self, draft: Path, step: int) -> None:
        """Give a draft its name, and delete the oldest checkpoint."""
        state = {"step": step, "start": self.start, "facts": self.facts}
        (draft / FACTS).write_text(json.dumps(state, indent=1), encoding="utf-8")
        (draft / DONE).touch()
        _sync_folder(draft)
        draft.rename(self.folder / f"step-{step:06d}")
        for old in sorted(path.parent for path in self.folder.glob(f"step-*/{DONE}"))[: -self.keep]:
            (old / DONE).unlink()  # first, so that a half-deleted checkpoint is not read
            shutil.rmtree(old)


def _path_from(folder: Path, start: Path) -> str:
    """Return the path of `start`: from `folder` if both are in the same training, which may be moved; else absolute."""
    target = start.resolve()
    inside = target.is_relative_to(folder.parent.resolve())
    return os.path.relpath(target, folder.resolve()) if inside else str(target)


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


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk before its rename, so that a power cut leaves no incomplete folder with a final name."""
    for path in [*folder.rglob("*"), folder]:
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
