"""Names of half-written files, and removal of those whose process was killed."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

DRAFT = ".draft"  # suffix of a half-written file: never listed, removed when a run starts
NAME = re.compile(re.escape(DRAFT) + r"-(\d+)-[0-9a-f]{8}$")


def name(path: str) -> str:
    """Return a new name for a draft of `path`, which includes this process's id."""
    return f"{path}{DRAFT}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def folder() -> Path:
    """Return the folder of drafts for object stores, below this machine's temporary folder."""
    path = Path(tempfile.gettempdir(), f"ola-drafts-{process_space()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@cache
def process_space() -> str:
    """Return the scope in which a process id is unique: the boot, the PID namespace, the user.

    Containers that share a temporary folder have different scopes.
    """
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    scope = (
        f"{boot.read_text() if boot.exists() else ''} {os.stat(space).st_ino if space.exists() else ''} {os.getuid()}"
    )
    return hashlib.sha256(scope.encode()).hexdigest()[:12]


@cache
def sweep_once(path: Path) -> None:
    """Call `sweep` once per process, so that every node deletes the drafts of its killed workers."""
    sweep(path)


def sweep(path: Path) -> None:
    """Delete the drafts in a folder whose process has ended."""
    for draft in path.iterdir():
        match = NAME.search(draft.name)
        with suppress(OSError):
            if match and not is_alive(int(match.group(1)), draft.stat().st_mtime):
                draft.unlink()


def is_alive(process: int, since: float) -> bool:
    """Return whether the process with this id runs and started before `since` (seconds since 1970): ids are reused."""
    try:
        return psutil.Process(process).create_time() <= since + 1  # the start time is rounded to 10 ms
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
