"""What toy steps do wrong on demand: crash, hang, use memory, write noise, or kill another process.

The uri of a source names the fault, see `do`. A module of its own, because sandboxes and Ray workers import it by name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from manifests.records import Source
from pipeline.errors import Unavailable


def eat(alive: Callable[[], None] = lambda: None) -> None:
    """Take 25 MB more every 10 ms, for a minute at most."""
    eaten = []
    for _ in range(100):
        eaten.append(b"x" * (25 << 20))
        alive()
        time.sleep(0.01)
    time.sleep(60)


def complain(text: str = "this one is bad") -> None:
    """Fail as a library does."""
    raise ValueError(text)


def fill_disk() -> None:
    """Fail as a write does on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill_worker() -> None:
    """Take the process that watches this one with it."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def wait_for(path: str) -> None:
    """Cannot go on until a file is there."""
    if not Path(path).exists():
        raise Unavailable("the store does not answer")


def be_killed(path: str) -> None:
    """Killed from outside, until a file is there: each time it gets a line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("killed\n")
    if len(Path(path).read_text(encoding="utf-8").splitlines()) < 3:
        os.kill(os.getpid(), signal.SIGKILL)


def die_then_be_killed(path: str) -> None:
    """Exit the first time, and be killed from outside each time after that."""
    if Path(path).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    Path(path).touch()
    os._exit(3)


def close_pipe() -> None:
    """Stay alive, but deaf and mute."""
    os.closerange(3, 256)
    time.sleep(3600)


def leave_child(then: Callable[[], object] = lambda: os._exit(3)) -> None:
    """Die, and leave a forked child that holds all of this process's files."""
    if os.fork() == 0:
        time.sleep(3600)
    then()


def exit_loudly() -> None:
    """Say something, and die."""
    os.write(2, b"goodbye")
    os._exit(3)


def hang_later() -> None:
    """Answer, and then stop the whole process, with Python's lock held."""

    def stop() -> None:
        time.sleep(0.2)
        ctypes.PyDLL(None).pause()

    threading.Thread(target=stop, daemon=True).start()


DEEDS: Mapping[str, Callable[[], object]] = {
    "exit": lambda: os._exit(3),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "odd signal": lambda: os.kill(os.getpid(), signal.SIGRTMIN + 3),
    "leave": lambda: sys.exit("no more"),
    "hang": lambda: time.sleep(3600),
    "hang locked": lambda: ctypes.PyDLL(None).pause(),  # PyDLL keeps Python's lock, as a stuck decoder does
    "eat": eat,
    "raise": complain,
    "disk full": fill_disk,
    "quote bytes": lambda: complain("cannot read \udcff.mp4"),
    "hang later": hang_later,
    "eat in a child": lambda: subprocess.run(
        [sys.executable, "-c", "import tests.toy_faults as t; t.eat()"], check=True
    ),
    "print": lambda: os.write(1, b"noise " * 100_000),
    "kill worker": kill_worker,
    "close pipe": close_pipe,
    "leave child": leave_child,
    "leave child and hang": lambda: leave_child(lambda: time.sleep(3600)),
    "exit loudly": exit_loudly,
}


WITH_PATH: Mapping[str, Callable[[str], object]] = {
    "need": lambda path: Path(path).read_bytes(),
    "wait": wait_for,
    "killed": be_killed,
    "die-then-killed": die_then_be_killed,
    "killed-always": lambda path: os.kill(os.getpid(), signal.SIGKILL),
}


def deed(source: Source) -> str:
    """What a source's uri asks for: what stands before the number that makes it the only one of its name."""
    return source.uri.partition("#")[0]


def do(source: Source) -> None:
    """Do a source's deed, one of DEEDS, or one of WITH_PATH and a path; nothing for all others."""
    what, _, path = deed(source).partition(" ")
    if what in WITH_PATH:
        WITH_PATH[what](path)
    DEEDS.get(deed(source), lambda: None)()
