"""Writes to a store that are interrupted or killed at random moments leave no partial object."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from manifests import storage
from tests.object_store import bucket

SMALL, LARGE = 100_000, 20 << 20  # bytes: one PUT, and a multipart upload


@pytest.fixture(scope="module")
def store_at() -> Iterator[str]:
    with bucket("interrupted") as uri:
        yield uri


INTERRUPT = """
import random, signal, sys
from contextlib import suppress
from manifests import storage
folder, size, longest, wanted = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
hits, moments = 0, random.Random(size)

def interrupt(*_):
    global hits
    hits += 1
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
storage.write_bytes(f"{folder}/first", bytes(size))
for number in range(50 * wanted):
    with suppress(KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0003, longest))
        storage.write_bytes(f"{folder}/{number}", bytes(size))
        signal.setitimer(signal.ITIMER_REAL, 0)
    if hits == wanted:
        break
print(hits > 0, {entry.size for entry in storage.listing(folder)})  # how often depends on how fast this machine is
"""


def environment() -> dict[str, str]:
    """Of a process that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


@pytest.mark.parametrize(("size", "longest", "interrupts"), [(SMALL, 0.01, 60), (LARGE, 0.1, 12)])
@pytest.mark.parametrize("scheme", ["s3", "memory"])  # through obstore, through fsspec
def test_interrupted_writes_are_whole_or_not_there(
    store_at: str, scheme: str, size: int, longest: float, interrupts: int
) -> None:
    folder = f"{store_at if scheme == 's3' else 'memory://interrupted'}/{size}"
    command = [sys.executable, "-c", INTERRUPT, folder, str(size), str(longest), str(interrupts)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.stdout == f"True {{{size}}}\n", done.stderr


WRITE = """
import sys
from manifests import storage
for number in range(10_000):
    print(number, flush=True)
    storage.write_bytes(f"{sys.argv[1]}-{number}", bytes(int(sys.argv[2])))
"""


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_killed_writers_leave_whole_objects(store_at: str, size: int) -> None:
    moments = random.Random(size)
    for number in range(5):
        command = [sys.executable, "-c", WRITE, f"{store_at}/killed-{size}/{number}", str(size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0.05, 0.4))
            process.kill()
    assert {entry.size for entry in storage.listing(f"{store_at}/killed-{size}")} <= {size}
