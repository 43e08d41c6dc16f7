"""A cell: a step in a process of its own, watched from outside, so that no record can take anything with it.

Decoders crash, hang while they hold Python's lock, and eat memory. The worker sends a batch, waits with a clock and an
eye on the process's memory, and gets the answers or a `StepFault` that says how it ended. A new process is
started for the next batch. When the worker itself is killed, the cell dies at once: it holds the reading end of a
pipe that nobody else holds open.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

from pipeline.errors import Died, OlaError, OpenFailed, OverLimit, Raised
from pipeline.media.keep import MediaTar
from pipeline.step import Step

GLANCE = 0.1  # seconds between looks at a cell's memory: at 2 GB/s it gets 200 MB past its limit
CENSUS = 10  # looks between searches for the cell's children: one reads all of /proc, some 5 ms
STDERR_TAIL = 2000


class Here:
    """The step in this very process, for a debugger: same calls as `Cell`, no limits, no second life."""

    def __init__(self, step: Step[Any, Any]) -> None:
        """The step is opened at its first batch."""
        self.step, self.opened = step, False

    def run(self, batch: Sequence[Any], seconds: float, memory: float, media: MediaTar | None, scratch: str) -> Any:
        """Answers of the step; whatever it raises goes up."""
        if not self.opened:
            self.step.open()
            self.opened = True
        if media is not None:
            self.step.media = media
        self.step.scratch = scratch
        return self.step.run(batch)

    def close(self) -> None:
        """Nothing is held."""


class Cell:
    """The step in a process of its own. Started at the first batch, and again after each death."""

    def __init__(self, step: Step[Any, Any]) -> None:
        """Nothing runs yet."""
        self.step = step
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, batch: Sequence[Any], seconds: float, memory: float, media: MediaTar | None, scratch: str) -> Any:
        """The step's answers for a batch.

        seconds: wall clock; memory: bytes resident, children included; media: where the step keeps bytes, whose
        `size` is moved on only when the batch ends well. Raises Raised, Died, OverLimit, or OpenFailed.
        """
        self._start()
        self._send((list(batch), seconds, media, scratch))
        kind, *rest = self._answer(seconds, memory)
        if kind == "raised":
            raise Raised(*rest)
        answers, size = rest
        if media is not None:
            media.size = size
        return answers

    def close(self) -> None:
        """End the process and all its children."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.pipe.close()
        os.close(self.lifeline)
        self.stderr.close()
        self.process = None

    def _start(self) -> None:
        if self.process is not None:
            return
        self.pipe, theirs = Pipe()
        watched, self.lifeline = os.pipe()
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115  read when the process has died
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cell", str(theirs.fileno()), str(watched)],
            pass_fds=(theirs.fileno(), watched),
            start_new_session=True,  # a group of its own: one signal ends it with its ffmpegs
            stdin=subprocess.DEVNULL,
            stdout=self.stderr,
            stderr=self.stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        theirs.close()
        os.close(watched)
        self._send(self.step)
        try:
            kind, *rest = self.pipe.recv()
        except (EOFError, ConnectionError):
            detail = self._last_words()
            self.close()
            raise OpenFailed(f"step '{self.step.name}' died while opening", detail) from None
        if kind == "failed":
            self.close()
            raise OpenFailed(f"step '{self.step.name}' cannot open: {rest[0]}", rest[1])

    def _send(self, message: Any) -> None:
        try:
            self.pipe.send_bytes(pickle.dumps(message))
        except ConnectionError:
            pass  # it is dead already: the wait for its answer finds out how

    def _answer(self, seconds: float, memory: float) -> Any:
        deadline = time.monotonic() + seconds
        looks = 0
        try:
            while not self.pipe.poll(GLANCE):
                if time.monotonic() > deadline:
                    self.close()
                    raise OverLimit(f"took longer than its limit of {seconds:.0f} s")
                if self._memory(census=looks % CENSUS == 0) > memory:
                    self.close()
                    raise OverLimit(f"took more memory than its limit of {memory / 1e9:.1f} GB")
                looks += 1
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            raise self._died() from None

    def _memory(self, census: bool) -> int:
        import psutil

        assert self.process is not None
        total = 0
        try:
            if census:
                parent = psutil.Process(self.process.pid)
                self.family = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            self.family = []
        for process in self.family:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                pass  # it ended between two looks
        return total

    def _died(self) -> Died:
        assert self.process is not None
        code = self.process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        words = self._last_words()
        self.close()
        return Died(how, words)

    def _last_words(self) -> str:
        self.stderr.seek(max(0, self.stderr.seek(0, os.SEEK_END) - STDERR_TAIL))
        return self.stderr.read().decode(errors="replace").strip()


def _die_with(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the last holder of the other end is gone
    os.killpg(0, signal.SIGKILL)


def serve(pipe: Connection) -> None:
    """The cell's side: open the step, then answer batch after batch until the pipe closes."""
    step: Step[Any, Any] = pickle.loads(pipe.recv_bytes())
    try:
        step.open()
    except Exception as error:
        pipe.send(("failed", one_line(error), traceback.format_exc()))
        return
    pipe.send(("open",))
    while True:
        try:
            batch, seconds, media, scratch = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        # the kernel's own clock: it ends even a decoder that hangs with Python's lock when the worker is gone
        signal.setitimer(signal.ITIMER_REAL, seconds + 30)
        if media is not None:
            step.media = media
        step.scratch = scratch
        try:
            answers = step.run(batch)
            reply = pickle.dumps(("answers", answers, media.size if media is not None else 0))
        except Exception as error:
            reply = pickle.dumps(("raised", one_line(error), told(error)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send_bytes(reply)


def told(error: BaseException) -> str | None:
    """What a row says beyond its reason: where it happened, unless the error is one of ours and says all itself."""
    return None if isinstance(error, OlaError) else traceback.format_exc()


def one_line(error: BaseException) -> str:
    """An error as a row's reason: its own words if it is one of ours or says enough, else with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OlaError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def main() -> None:
    """Entry of the process: the file descriptors of the pipe and of the lifeline are its arguments."""
    threading.Thread(target=_die_with, args=(int(sys.argv[2]),), daemon=True).start()
    try:
        # if the machine runs out of memory, the kernel should take this process and not the driver
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # not Linux, or not allowed: the memory limit still holds
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
