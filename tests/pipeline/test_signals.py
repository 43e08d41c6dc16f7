"""SIGTERM, SIGHUP and Ctrl-C end a run or training in one line and leave no process; the next run resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.media import pattern
from tests.pipeline.test_kills import MARK, survivors
from tests.pipeline.test_train import RECIPE
from tests.runs import ola, rows, talking
from tests.stages.lessons import lessons, logged, tensors, write_model
from tests.test_project import ROOT

ENDS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
SETTINGS = ("--set", "videos_per_part=1", "--set", "extract.frames.fps=8")
STEPS = "    steps: 12\n"


@pytest.fixture(autouse=True, scope="module")
def _minds_hanging_up() -> Iterator[None]:
    """What is started here heeds SIGHUP, also where the tests run under `nohup`, which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def start(mark: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """`ola` in a process and a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, MARK: str(mark)}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], begun: Callable[[], bool], number: signal.Signals, group: bool) -> str:
    """The lines on standard error of a process that is sent a signal once it has begun. group: with all its group."""
    while not begun():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return said


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for n in range(4):
        talking(folder, f"film{n}", pattern(f"signal{n}.mp4", 5 + n / 5, size="320x240"), 5)
    return folder


@pytest.fixture(scope="module")
def calm(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("calm")
    assert ola("run", videos, "--root", root, *SETTINGS).code == 0
    return root


def check_resumed(root: Path, calm: Path, videos: Path) -> None:
    assert ola("run", videos, "--root", root, *SETTINGS, "--engine", "inline").code == 0
    for step in ("ingest", "split", "transcribe"):
        query = f"SELECT * EXCLUDE (seconds) FROM {step} ORDER BY ALL"
        assert rows(root, query) == rows(calm, query)
    shards = [{path.name: path.read_bytes() for path in each.glob("shards/*/*/*.tar")} for each in (root, calm)]
    assert shards[0] == shards[1]


def _has(root: Path, pattern: str) -> bool:
    return bool(list(root.glob(pattern)))


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_ends_a_run_and_the_next_goes_on(
    number: signal.Signals, code: int, videos: Path, calm: Path, tmp_path: Path
) -> None:
    for attempt in range(5):  # on a busy machine the run may be over before it is looked at
        root = tmp_path / f"root{attempt}"
        process = start(root, "run", videos, "--root", root, *SETTINGS)
        begun = partial(_has, root, "01-ingest-*/*.parquet" if attempt < 3 else "00-source/*")
        said = ended(process, begun, number, group=False)
        if process.returncode != 0:
            break
    assert said == f"ola: ended by {number.name}: what is committed stays; give the same command again to go on\n"
    assert process.returncode == code
    assert survivors(root) == []
    check_resumed(root, calm, videos)


@pytest.mark.slow
def test_sigterm_ends_a_run_on_a_ray_of_its_own(videos: Path, calm: Path, tmp_path: Path) -> None:
    """The signal reaches the whole process group, as `timeout` sends it."""
    root = tmp_path / "root"
    process = start(root, "run", videos, "--root", root, *SETTINGS, "--engine", "ray")
    said = ended(process, lambda: bool(list(root.glob("01-ingest-*/*.parquet"))), signal.SIGTERM, group=True)
    assert said == "ola: ended by SIGTERM: what is committed stays; give the same command again to go on\n"
    assert process.returncode == 143
    assert survivors(root) == []
    assert list(Path(tempfile.gettempdir()).glob(f"ola-ray-{process.pid}-*")) == []
    check_resumed(root, calm, videos)


def test_sigterm_saves_the_step_of_a_training(tmp_path: Path) -> None:
    """The signal reaches the whole process group, as from schedulers: decoders stay alive until the trainer ends."""
    (tmp_path / "see.yaml").write_text(RECIPE + STEPS)
    (shards,) = lessons(tmp_path / "shards", ["image_caption"], 3)
    given = ("train", tmp_path / "see.yaml", "--shards", shards, "--model", write_model(tmp_path / "model"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert ola(*given, "--out", whole, "--decoders", "0").code == 0
    process = start(cut, *given, "--out", cut)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("phase see: 12 steps")
    assert process.stdout.readline().startswith("step 1/12")
    said = ended(process, lambda: True, signal.SIGTERM, group=True)
    (saved,) = (cut / "see").glob("step-*/DONE")
    done = int(saved.parent.name.removeprefix("step-"))
    assert said == (
        f"ola: ended by SIGTERM: phase see: step {done} of 12 is saved; run the same command again to resume\n"
    )
    assert process.returncode == 143
    assert done < 12
    assert survivors(cut) == []
    again = ola(*given, "--out", cut, "--decoders", "0")
    assert f"resumes after step {done} of 12" in again.out
    losses = [[row["loss"] for row in logged(out, "see")] for out in (whole, cut)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    one, two = tensors(whole / "model"), tensors(cut / "model")
    assert all((one[name] == two[name]).all() for name in one)


def test_nothing_is_left_where_the_end_takes_too_long(tmp_path: Path) -> None:
    """The main thread runs C++ and has a child; the watching thread ends both and prints the line."""
    code = """
import subprocess, sys, time
from pipeline.engine import signals
signals.CLEANUP = 0.5
with signals.exit_in_one_line("go on", lambda: open(sys.argv[1], "w").close()):
    try:
        child = subprocess.Popen(["sleep", "60"])
        print("begun", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "last")], cwd=ROOT, text=True,
        env={**os.environ, MARK: str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert ended(process, lambda: True, signal.SIGTERM, group=False) == "ola: ended by SIGTERM: go on\n"
    assert process.returncode == 143
    assert (tmp_path / "last").exists()
    assert survivors(tmp_path) == []


SWALLOWING = """
import time
from pipeline.engine.signals import exit_in_one_line

class Slow:
    def __del__(self):
        print("in", flush=True)
        time.sleep(20)

with exit_in_one_line("again"):
    Slow()
    time.sleep(60)
"""


def test_an_interrupt_that_is_swallowed_comes_again() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWING], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "ola: ended by SIGINT: again\n")
