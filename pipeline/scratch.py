"""Folders for copies of remote files and for drafts: a worker's own, and gone with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SCRATCH = "ola-scratch"
STALE = 60.0  # seconds: a scratch folder this old that nobody holds belonged to a worker that was killed


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder that is this process's own until the block, or the process, ends."""
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}-") as folder:
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(held)


def remove_scratch() -> None:
    """Delete the scratch folders of workers that were killed on this machine."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*"):
        with suppress(OSError):  # somebody holds it, or was faster
            held = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(held).st_mtime > STALE:
                    shutil.rmtree(path)
            finally:
                os.close(held)
