"""One run at a time per root, locally and in a store: a second one is refused, a dead one is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from manifests import object_store, storage
from pipeline.errors import ConfigError, RunError
from pipeline.state import lease
from pipeline.state.lease import Lease, LeaseHolder, exclusive_run
from tests.object_store import bucket

HOLD = """
import sys, time
from pipeline.state import lease
lease.BEAT = float(sys.argv[2])
with lease.exclusive_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def store_at() -> Iterator[str]:
    with bucket("leases") as uri:
        yield uri


@pytest.fixture(params=["local", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "root")
    return f"{request.getfixturevalue('store_at')}/{request.node.name}"


@pytest.fixture
def stored_root(store_at: str, request: pytest.FixtureRequest) -> str:
    return f"{store_at}/{request.node.name}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in seconds."""
    for name, seconds in (("BEAT", 0.2), ("PATIENCE", 1.5), ("POLL_SECONDS", 0.1)):
        monkeypatch.setattr(lease, name, seconds)


def held_elsewhere(root: str, beat: float = 0.2) -> subprocess.Popen[str]:
    """A process that holds the root."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", HOLD, root, str(beat)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()


def test_a_second_run_is_refused_by_one_line_that_names_the_first(root: str) -> None:
    holder = held_elsewhere(root)
    try:
        expected = rf"^another run is at work at \S+ \(process {holder.pid}.*\)[^\n]*$"
        with pytest.raises(RunError, match=expected), exclusive_run(root):
            raise AssertionError("two at once")
    finally:
        end(holder)
    with exclusive_run(root):  # the process is gone, so nobody waits
        pass


def test_a_root_that_is_left_is_free(root: str) -> None:
    for _ in range(2):
        with exclusive_run(root):
            assert storage.exists(storage.join(root, ".lock"))
    if not storage.is_local(root):
        assert storage.listing(root) == []


def test_an_error_in_the_block_comes_out_and_frees_the_root(root: str) -> None:
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), exclusive_run(root):
            raise error
    with exclusive_run(root):
        pass


def of_another_machine(root: str) -> LeaseHolder:
    """The lock of a run that was killed on another machine."""
    holder = replace(LeaseHolder(), space="elsewhere", host="node7", process=4711)
    storage.write_bytes(storage.join(root, ".lock"), holder.stored())
    return holder


def test_the_lock_of_a_killed_run_elsewhere_is_taken_after_some_patience(stored_root: str) -> None:
    of_another_machine(stored_root)
    began = time.monotonic()
    with exclusive_run(stored_root):
        assert time.monotonic() - began >= lease.PATIENCE
        assert LeaseHolder.parse(storage.read_bytes(storage.join(stored_root, ".lock"))).process == os.getpid()


def test_of_many_that_wait_for_a_dead_one_only_one_goes_on(stored_root: str) -> None:
    of_another_machine(stored_root)

    def take(waiting: Lease) -> bool:
        try:
            waiting.take()
        except RunError:
            return False
        return True

    leases = [Lease(stored_root) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        took = list(pool.map(take, leases))
    assert took.count(True) == 1
    leases[took.index(True)].release()
    assert storage.listing(stored_root) == []


def test_a_lock_that_is_no_json_is_the_lock_of_a_dead_run(stored_root: str) -> None:
    storage.write_bytes(storage.join(stored_root, ".lock"), b"what?")
    with exclusive_run(stored_root):
        pass


def test_the_lock_is_renewed(stored_root: str) -> None:
    with exclusive_run(stored_root):
        seen: set[int] = set()
        end = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < end:
            seen.add(LeaseHolder.parse(storage.read_bytes(storage.join(stored_root, ".lock"))).beat)
            time.sleep(0.05)
    assert len(seen) == 3


def lose(root: str) -> LeaseHolder:
    """Hold the root until another machine takes it; returns only if nobody interrupts."""
    with exclusive_run(root):
        taker = of_another_machine(root)
        for _ in range(200):  # not one long sleep: the interrupt may come before it
            time.sleep(0.1)
    return taker


@pytest.mark.parametrize("on_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_a_run_that_has_lost_its_root_is_stopped_and_leaves_the_lock(
    stored_root: str, on_ctrl_c: signal.Handlers
) -> None:
    before, began = signal.signal(signal.SIGINT, on_ctrl_c), time.monotonic()
    try:
        with pytest.raises(RunError, match="another run has taken this root"):
            lose(stored_root)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 15
    assert LeaseHolder.parse(storage.read_bytes(storage.join(stored_root, ".lock"))).host == "node7"


def test_a_frozen_run_that_wakes_up_has_lost(stored_root: str) -> None:
    holder = held_elsewhere(stored_root)
    try:
        holder.send_signal(signal.SIGSTOP)
        with exclusive_run(stored_root):
            holder.send_signal(signal.SIGCONT)
            assert holder.wait(timeout=30) != 0
            assert object_store.stat(storage.join(stored_root, ".lock")) is not None
    finally:
        end(holder)


def test_a_bucket_that_is_not_there_is_a_wrong_setting(store_at: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"^--root s3://nobody/out: .*no such bucket"),
        exclusive_run("s3://nobody/out"),
    ):
        pass
