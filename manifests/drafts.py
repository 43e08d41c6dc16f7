"""Names of half-written files, and their removal after the process that wrote them was killed."""

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

DRAFT = ".draft"  # what a half-written file is called; never listed, removed when a run starts
NAME = re.compile(re.escape(DRAFT) + r"-(\d+)-[0-9a-f]{8}$")


def name(path: str) -> str:
    """A fresh name for a draft of `path`, with this process in it."""
    return f"{path}{DRAFT}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def folder() -> Path:
    """The folder of drafts for object stores, below this machine's temporary folder."""
    path = Path(tempfile.gettempdir(), f"ola-drafts-{process_space()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@cache
def process_space() -> str:
    """Within what a process id means one process: the boot, the namespace of process ids, the user.

    Containers that share a temporary folder have different ones.
    """
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    told = (
        f"{boot.read_text() if boot.exists() else ''} {os.stat(space).st_ino if space.exists() else ''} {os.getuid()}"
    )
    return hashlib.sha256(told.encode()).hexdigest()[:12]


@cache
def sweep_once(path: Path) -> None:
    """`sweep`, once in this process: so every node loses the drafts of its killed workers."""
    sweep(path)


def sweep(path: Path) -> None:
    """Delete the drafts in a folder whose process is gone."""
    for draft in path.iterdir():
        match = NAME.search(draft.name)
        with suppress(OSError):
            if match and not lives(int(match.group(1)), draft.stat().st_mtime):
                draft.unlink()


def lives(process: int, since: float) -> bool:
    """Whether a process of this id runs that was there at a time (seconds since 1970): ids are used again."""
    try:
        return psutil.Process(process).create_time() <= since + 1  # the start is known to a hundredth of a second
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
