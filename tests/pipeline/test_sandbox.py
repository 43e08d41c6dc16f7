"""A sandbox with large messages, deaths, hangs and children, and its clean-up.

In: a toy step in a process of its own. Out: answers or faults; no process, file descriptor or zombie.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from manifests.records import Source
from pipeline.engine import outcomes
from pipeline.engine import sandbox as sandboxes
from pipeline.engine.batch_call import BatchCall
from pipeline.engine.lane import group_by_process
from pipeline.engine.sandbox import Sandbox
from pipeline.errors import OlaError, OpenFailed, OverLimit, ProcessDied, StepRaised
from pipeline.media.media_store import MediaTar
from pipeline.step import Step
from tests import toy_driver
from tests.test_project import ROOT
from tests.toys import MB, Film, Shut, Take, Unloadable

GB = 1e9


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(Take())
    yield made
    made.close()


def give(sandbox: Sandbox, *deeds: str, seconds: float = 20.0, memory: float = GB, size: int = 1) -> Any:
    batch = [Source(id=f"s{n:04d}", uri=deed, bytes=size) for n, deed in enumerate(deeds)]
    return sandbox.run(batch, seconds, memory, BatchCall())


def pid(sandbox: Sandbox) -> int:
    assert sandbox.process is not None
    return sandbox.process.pid


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process ends in time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_step_that_raises_keeps_its_process(sandbox: Sandbox) -> None:
    give(sandbox, "ok")
    first = pid(sandbox)
    with pytest.raises(StepRaised, match="ValueError: this one is bad") as caught:
        give(sandbox, "raise")
    assert "complain" in str(caught.value.detail)
    assert give(sandbox, "ok")[0][0].id == "p-s0000"
    assert pid(sandbox) == first


@pytest.mark.parametrize(
    ("deed", "how"),
    [
        ("exit", "exit code 3"),
        ("crash", "signal SIGSEGV"),
        ("leave child", "exit code 3"),
        ("close pipe", "closed its pipe"),
    ],
)
def test_a_death_says_how(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, deed: str, how: str) -> None:
    monkeypatch.setattr(sandboxes, "GRACE", 0.5)
    with pytest.raises(ProcessDied, match=how):
        give(sandbox, deed)
    assert sandbox.process is None
    assert give(sandbox, "ok")[0][0].weight == 1


@pytest.mark.parametrize("deed", ["hang", "hang locked"])
def test_a_hang_ends_at_its_limit(sandbox: Sandbox, deed: str) -> None:
    give(sandbox, "ok")
    began = time.monotonic()
    with pytest.raises(OverLimit, match="took longer than its limit of 1 s"):
        give(sandbox, deed, seconds=1.0)
    assert time.monotonic() - began < 3


def test_a_hang_that_comes_after_the_answer_does_not_hold_up_a_large_batch(sandbox: Sandbox) -> None:
    give(sandbox, "hang later")
    time.sleep(0.5)
    began = time.monotonic()
    with pytest.raises(OverLimit):
        give(sandbox, "x" * (5 * MB), seconds=0.5)
    assert time.monotonic() - began < 10


def test_a_sign_of_life_starts_the_clock_anew(sandbox: Sandbox) -> None:
    assert give(sandbox, "slow but alive", seconds=1.5)[0][0].id == "p-s0000"


@pytest.mark.parametrize("deed", ["eat", "eat and sign", "eat in a child"])
def test_memory_counts_with_that_of_children(sandbox: Sandbox, deed: str) -> None:
    give(sandbox, "ok")
    with pytest.raises(OverLimit, match=r"took more memory than its limit of 0\.4 GB"):
        give(sandbox, deed, memory=0.4 * GB)


def test_large_batches_and_answers_pass(sandbox: Sandbox) -> None:
    (pebbles,) = give(sandbox, "many", size=200_000)
    assert len(pebbles) == 200_000
    uris = ["x" * MB] * 20
    assert len(give(sandbox, *uris)) == 20


def test_what_a_step_prints_does_not_fill_the_disk(sandbox: Sandbox) -> None:
    give(sandbox, "print")
    for _ in range(5):
        give(sandbox, "print")
        assert os.fstat(sandbox.stderr.fileno()).st_size < 3 * sandboxes.STDERR_ROOM
    with pytest.raises(ProcessDied) as caught:
        give(sandbox, "exit loudly")
    assert str(caught.value.detail).endswith("goodbye")


def test_open_that_fails_says_why() -> None:
    with pytest.raises(OpenFailed) as caught:
        give(Sandbox(Shut()), "ok")
    assert str(caught.value) == "step 'shut' cannot open: FileNotFoundError: weights.bin is not there"
    assert 'raise FileNotFoundError("weights.bin is not there")' in caught.value.detail
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.detail) == (str(caught.value), caught.value.detail)


def test_open_that_dies_says_how() -> None:
    shut = Shut(Shut.settings_type(trace="exit"))
    with pytest.raises(OpenFailed, match=r"step 'shut' died while opening \(exit code 3\)"):
        give(Sandbox(shut), "ok")


def test_a_step_that_the_cell_cannot_import_says_so() -> None:
    with pytest.raises(OpenFailed, match="cannot open: ImportError: only in one process"):
        give(Sandbox(Unloadable()), "ok")


def test_a_step_of_the_script_itself_is_refused() -> None:
    class Local(Take):
        __module__ = "__main__"

    with pytest.raises(OpenFailed, match="step 'take' is defined in the script itself: move it to a module"):
        give(Sandbox(Local()), "ok")


def test_a_death_leaves_media_as_they_were(tmp_path: Path) -> None:
    tar = MediaTar("part.tar", str(tmp_path / "part.tar"))
    sandbox = Sandbox(Film())
    good = Source(id="a", uri="ok", bytes=1000)
    sandbox.run([good], 20, GB, BatchCall(media=tar))
    size = tar.size
    with pytest.raises(ProcessDied):
        sandbox.run([Source(id="b", uri="exit", bytes=100_000)], 20, GB, BatchCall(media=tar))
    assert tar.size == size
    sandbox.close()


def test_deaths_leave_no_process_zombie_or_file() -> None:
    sandbox = Sandbox(Take())
    give(sandbox, "ok")
    sandbox.close()
    me = psutil.Process()
    files, children = me.num_fds(), len(me.children(recursive=True))
    for deed in ("exit", "leave child", "raise", "crash"):
        with pytest.raises((ProcessDied, StepRaised)):
            give(sandbox, deed)
    sandbox.close()
    sandbox.close()
    assert (me.num_fds(), len(me.children(recursive=True))) == (files, children)


@pytest.mark.parametrize("deed", ["hang", "hang locked", "leave child and hang"])
def test_a_sandbox_dies_with_its_worker(tmp_path: Path, deed: str) -> None:
    code = f"""
import os
from manifests.records import Source
from pipeline.engine.batch_call import BatchCall
from pipeline.engine.sandbox import Sandbox
from tests.toys import Take
sandbox = Sandbox(Take())
sandbox._start()
print(sandbox.process.pid, flush=True)
sandbox.run([Source(id="a", uri={deed!r}, bytes=1)], 3600, 1e9, BatchCall())
"""
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert worker.stdout is not None
    sandbox = psutil.Process(int(worker.stdout.readline()))
    time.sleep(0.3)
    family = [sandbox, *sandbox.children(recursive=True)]
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert all(gone(process.pid) for process in family)


def test_ctrl_c_ends_worker_and_cell(tmp_path: Path) -> None:
    command = toy_driver.command(tmp_path, "inline")
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    while not (tmp_path / "trace").exists() and worker.poll() is None:
        time.sleep(0.05)
    sandbox = psutil.Process(worker.pid).children()[0]
    worker.send_signal(signal.SIGINT)
    _, said = worker.communicate(timeout=10)
    assert worker.returncode != 0
    assert said.strip().endswith("KeyboardInterrupt")
    assert gone(sandbox.pid)


def test_files_of_the_users_folder_are_not_taken_for_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise RuntimeError('not mine')")
    monkeypatch.chdir(tmp_path)
    sandbox = Sandbox(Take())
    assert give(sandbox, "ok")
    sandbox.close()


def test_a_sandbox_starts_light() -> None:
    """Each death costs a start, so steps import their packages in `open` and `run`."""
    heavy = ("av", "duckdb", "ffmpeg", "pandas", "ray", "rich", "torch", "transformers", "yaml")
    code = "import sys, pipeline.engine.sandbox; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True, check=True)
    assert set(loaded.stdout.split()).isdisjoint(heavy)


def test_reasons_stay_short() -> None:
    reason = outcomes.error_line(ValueError("word " * 1000))
    assert len(reason) == outcomes.REASON
    assert outcomes.error_line(ValueError()) == "ValueError"
    assert outcomes.error_line(OlaError("a  clear\nword")) == "a clear word"


class Here(Step[Source, Source]):
    """Names each record after the process it is in."""

    name, takes, gives = "here", Source, Source
    shares = "process"

    def run(self, batch: Sequence[Source]) -> list[list[Source]]:
        return [[replace(source, id=f"{source.id}-{self.name}-{os.getpid()}")] for source in batch]


class There(Here):
    """The same under another name."""

    name = "there"


class NeverThere(There):
    """Cannot open."""

    def open(self) -> None:
        raise RuntimeError("no weights")


def test_steps_that_share_live_in_one_process() -> None:
    sandbox, source = Sandbox(Here(), There()), Source(id="s", uri="", bytes=1)
    try:
        made = [sandbox.run([source], 20, GB, BatchCall(number))[0][0].id for number in (0, 1, 0)]
        assert made == [f"s-{name}-{pid(sandbox)}" for name in ("here", "there", "here")]
    finally:
        sandbox.close()


def test_of_steps_that_share_the_one_that_cannot_open_is_named() -> None:
    with pytest.raises(OpenFailed, match="step 'there' cannot open: RuntimeError: no weights"):
        Sandbox(Here(), NeverThere()).run([Source(id="s", uri="", bytes=1)], 20, GB, BatchCall())


def test_only_neighbours_that_share_are_put_together() -> None:
    planned = [SimpleNamespace(step=step) for step in (Take(), Here(), There(), Take(), Here())]
    groups = [[one.step.name for one in group] for group in group_by_process(planned)]  # type: ignore[arg-type]
    assert groups == [["take"], ["here", "there"], ["take"], ["here"]]
