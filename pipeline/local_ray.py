"""The traces of a Ray of our own: its folder, and what it would print."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STALE = 86400.0  # seconds: a younger one may be of a container that shares this folder, but not our process ids
FOLDER = "ola-ray"  # of a Ray of our own, then its driver's process id


def remove_folders() -> None:
    """Delete what killed runs left of their Rays: logs and sockets, some MB each."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}-*"):
        with suppress(ValueError, OSError):  # not one of ours, or somebody was faster
            pid, age = int(path.name.split("-")[2]), time.time() - path.stat().st_mtime
            if age > STALE and not psutil.pid_exists(pid):
                shutil.rmtree(path)


@contextmanager
def hushed() -> Iterator[None]:
    """Standard error goes nowhere, not even that of C++; errors that are raised are not touched."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
