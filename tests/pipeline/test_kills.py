"""After a killed driver or a lost node, the next run ends with the same rows and blames no other record.

In: a chain of three toy steps in a process of its own, and SIGKILL at moments drawn from a fixed seed.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from manifests.ledger import Manifest
from pipeline.plan import build_plan
from tests import toy_driver, toys
from tests.test_project import ROOT

MARK = "OLA_TEST_OF"  # in the environment of all that a test starts


def start(root: Path, engine: str, *names: str) -> subprocess.Popen[str]:
    """Start the driver, and wait until it begins to work."""
    driver = subprocess.Popen(
        toy_driver.command(root, engine, *names),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, MARK: str(root)},
        text=True,
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    return driver


def finish(driver: subprocess.Popen[str]) -> str:
    """What a driver says that is let alone until it ends."""
    said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    return said


def kill(driver: subprocess.Popen[str]) -> str:
    """What it said until then."""
    driver.kill()
    return driver.communicate()[0]


def marked(root: Path) -> list[psutil.Process]:
    """What was started for the test at `root` and still lives."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def survivors(root: Path, within: float = 10.0) -> list[Sequence[str]]:
    """Command lines of what does not end in time."""
    end = time.monotonic() + within
    while (left := marked(root)) and time.monotonic() < end:
        time.sleep(0.1)
    return [process.cmdline() for process in left]


def manifests(root: Path, names: Sequence[str] = toy_driver.CHAIN) -> list[Manifest]:
    settings = toys.Traced(trace=f"{root}/trace", pause=0.01)
    return [
        planned.manifest
        for planned in build_plan(str(root), [toy_driver.STEPS[name](settings) for name in names]).steps
    ]


def check_chain(root: Path, kills: int) -> None:
    """All 60 sources but the bad one are through, and none ran twice but those in flight at a kill."""
    taken, cracked, polished = manifests(root)
    assert toys.failures(taken) == {"s0017": "killed its worker twice"}
    assert [m.total().ok for m in (taken, cracked, polished)] == [59, 59, 177]
    assert [m.total().failed for m in (taken, cracked, polished)] == [1, 0, 0]
    assert len({o.input for o in toys.outcomes(polished)}) == 177
    runs = toys.traced(root / "trace")
    runs.pop("take s0017")
    assert len(runs) == 59 + 59 + 177
    assert sum(runs.values()) - len(runs) <= kills
    assert not list(root.rglob("*.journal"))


def test_a_driver_killed_again_and_again(tmp_path: Path) -> None:
    moments = random.Random(7)
    kills = 0
    while True:
        driver = start(tmp_path, "inline")
        try:
            driver.wait(moments.uniform(0.3, 1.0) if kills < 10 else 60)
            break
        except subprocess.TimeoutExpired:
            kill(driver)
            kills += 1
    assert finish(driver) == ""
    assert kills >= 10
    check_chain(tmp_path, kills)
    assert survivors(tmp_path) == []


@pytest.mark.slow
def test_a_driver_with_its_own_ray_is_killed_and_a_node_lost_after_that(tmp_path: Path) -> None:
    driver = start(tmp_path, "ray")
    while toys.traced(tmp_path / "trace").total() < 20 and driver.poll() is None:
        time.sleep(0.05)
    time.sleep(random.Random(3).uniform(0.0, 0.5))
    assert driver.poll() is None
    assert kill(driver) == ""  # a terminal shows our output, and nothing of Ray's
    said = finish(start(tmp_path, "nodes"))
    lost = re.search(r"lost a node after (\d+) records\n", said)
    assert lost is not None, said
    assert int(lost[1]) < 100
    check_chain(tmp_path, 2 * len(toy_driver.CHAIN))  # up to one in flight of each step
    assert survivors(tmp_path) == []


@pytest.mark.parametrize("step", ["film", "serial"])
def test_a_killed_part_of_media_goes_on_with_the_record_in_flight(step: str, tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    finish(start(calm, "inline", step))
    driver = start(killed, "inline", step)
    while len(toys.traced(killed / "trace")) < 25 and driver.poll() is None:
        time.sleep(0.01)
    kill(driver)
    assert list(killed.rglob("*.tar.draft*"))
    finish(start(killed, "inline", step))
    tars = [{path.name: path.read_bytes() for path in root.rglob("*.tar")} for root in (calm, killed)]
    assert len(tars[0]) == 6
    assert tars[0] == tars[1]
    runs = toys.traced(killed / "trace")
    runs.pop(f"{step} s0017")
    assert len(runs) == 59
    assert sum(runs.values()) <= 60
    assert not [path for path in killed.rglob("*") if ".draft" in path.name]
