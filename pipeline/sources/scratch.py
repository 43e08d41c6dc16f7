"""Temporary folders of workers for copies of remote files and for drafts; they are deleted with the worker.

A copy is deleted once no later step of the worker reads it. A new copy is made only if there is room for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests import drafts, storage
from pipeline.errors import Unavailable
from pipeline.sources.containers import access

JOINED = ".joined"  # after the name of a copy: the same with a sound that lies apart
SCRATCH = "ola-scratch"
RESERVE = 256 << 20  # bytes that stay free: for journals, and for what others on this machine need meanwhile
STALE = 60.0  # seconds: a scratch folder this old that nobody holds belonged to a worker that was killed


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Make a folder for this process; it is deleted after the block, or after the process ends."""
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}-") as folder:
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)


def remove_scratch() -> None:
    """Delete the scratch folders of workers that were killed on this machine."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*"):
        with suppress(OSError):  # somebody holds it, or was faster
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(lock).st_mtime > STALE:
                    shutil.rmtree(path)
            finally:
                os.close(lock)


def local_copy(uri: str, folder: str, size: int, stamp: str = "") -> str:
    """Return a local path with a source's bytes: the file itself, or a copy in `folder`. size: in bytes.

    stamp: of the source; it contains the place of a member in its container. Older copies are deleted to make room.
    Raises Unavailable if there is still no room, and OSError as `access.fetch`.
    """
    copied = access.is_copied(uri)
    if copied and not os.path.exists(storage.copy_path(uri, folder)):
        _make_room(uri, folder, size)
    path = access.fetch(uri, folder, stamp)
    if copied:
        os.utime(path)  # used just now
    return path


def _make_room(uri: str, folder: str, size: int) -> None:
    drafts.sweep(Path(folder))  # of a step whose process was killed while it fetched
    copies = sorted((path for path in Path(folder).iterdir() if _is_copy(path)), key=lambda path: path.stat().st_mtime)
    while shutil.disk_usage(folder).free < size + RESERVE:
        if not copies:
            free = shutil.disk_usage(folder).free
            raise Unavailable(
                f"no room in {folder} for {uri}: it has {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free; "
                "set TMPDIR to a larger disk"
            )
        forget_copy(copies.pop(0))


def _is_copy(path: Path) -> bool:
    return Path(f"{path}{storage.STAMP}").exists()


def forget_copy(path: Path) -> None:
    """Delete a copy of a remote file, if it is there."""
    for name in (path, Path(f"{path}{storage.STAMP}"), Path(f"{path}{JOINED}")):
        name.unlink(missing_ok=True)
