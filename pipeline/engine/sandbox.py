"""A sandbox: a process for a step, or for steps that share weights, whose crash harms no other record.

Decoders crash, hang while they hold Python's lock, and use too much memory. The worker sends a batch, watches the time
and the process's memory, and gets the answers or a `StepFault` with the reason. The next batch starts a new process. If
the worker itself is killed, the kernel kills the sandbox and its children at once: the sandbox holds the reading end of
a pipe whose writing end only the worker holds.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from manifests import retries
from pipeline.engine.batch_call import BatchCall
from pipeline.engine.outcomes import exit_description
from pipeline.engine.sandbox_process import ALIVE, TRIED_AGAIN
from pipeline.errors import DeviceLost, OpenFailed, OverLimit, ProcessDied, ProcessKilled, StepRaised, Unavailable
from pipeline.step import Step

GLANCE = 0.1  # seconds between looks at a sandbox's memory: at 2 GB/s it gets 200 MB past its limit
CENSUS = 10  # looks between searches for the sandbox's children: one reads all of /proc, some 5 ms
NEXT = "next"  # to a step that handed over an answer: so no more than one record is in flight
GRACE = 5.0  # seconds for a process that has closed its pipe to end: the kernel takes apart GBs of memory in less
STDERR_TAIL, STDERR_ROOM = (
    2000,
    1 << 20,
)  # bytes: of a dead process shown; of a living one kept


class Sandbox:
    """Runs a step in its own process, which is started for the first batch and after each death."""

    def __init__(self, *steps: Step[Any, Any]) -> None:
        """Store the steps; no process is started yet."""
        self.steps: list[Step[Any, Any]] = list(steps)
        self.process: subprocess.Popen[bytes] | None = None
        self.weight = 0  # bytes of memory at the last look

    def run(
        self,
        batch: Sequence[Any],
        seconds: float,
        memory: float,
        call: BatchCall,
        answered: Callable[[Any], None] | None = None,
    ) -> list[Any]:
        """Return the step's answers for a batch.

        seconds: limit on the wall-clock time since the start of the batch, or since the step last called `alive`.
        memory: limit on the resident bytes, with children. answered: called with each answer that the step hands over
        early; these are not returned. The `size` of the call's media grows with each answer.

        Raises StepRaised, ProcessDied, DeviceLost, ProcessKilled, OverLimit, OpenFailed; or Unavailable if the step
        raised it.
        """
        self._start()
        self._patience(seconds)
        self.looks, self.look_at, self.weight = 0, time.monotonic() + GLANCE, 0
        early: list[Any] = []
        try:
            self._send((list(batch), call))
            while (message := self._answer(seconds, memory))[0] == "answer":
                call.answered(message[2])
                self._pass_on(answered or early.append, message[1])
        except BlockingIOError:  # bytes that stopped halfway: something in the sandbox holds Python's lock
            raise self._time_fault(seconds) from None
        kind, *rest = message
        if kind == "raised":
            raise StepRaised(*rest)
        if kind == "lost its device":
            self.close()  # whatever it is asked next would fail, too
            raise DeviceLost(*rest)
        if kind == "unavailable":
            raise Unavailable(*rest)
        call.answered(rest[1])
        return [*early, *rest[0]]

    def _pass_on(self, answered: Callable[[Any], None], answer: Any) -> None:
        """Pass an answer to `answered`, and let the step continue; if `answered` raises, end the process."""
        try:
            answered(answer)
            self._send(NEXT)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process and all its children."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()
        self.socket.close()
        os.close(self.lifeline)
        self.stderr.close()
        self.process = None

    def _start(self) -> None:
        if self.process is not None:
            return
        for step in self.steps:
            if type(step).__module__ == "__main__":
                raise OpenFailed(f"step '{step.name}' is defined in the script itself: move it to a module")
        self.socket, theirs = socket.socketpair()
        self.pipe = Connection(os.dup(self.socket.fileno()))
        watched, self.lifeline = os.pipe()
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115  read when the process has died
        self.process = subprocess.Popen(
            # -P: a random.py in the user's folder is not Python's
            [sys.executable, "-P", "-m", "pipeline.engine.sandbox_process", str(theirs.fileno()), str(watched)],
            pass_fds=(theirs.fileno(), watched),
            start_new_session=True,  # a group of its own: one signal ends it with its ffmpegs
            stdin=subprocess.DEVNULL,
            stdout=self.stderr,
            stderr=self.stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        theirs.close()
        os.close(watched)
        self._send(self.steps)
        self._opened()

    def _opened(self) -> None:
        """Wait for the steps to open. Raises OpenFailed."""
        name = "', '".join(step.name for step in self.steps)
        try:
            kind, *rest = self.pipe.recv()
        except (EOFError, ConnectionError):
            died = self._died()
            if isinstance(died, ProcessKilled):
                died.opening = True
                raise died from None
            detail = "\n".join(filter(None, (died.reason, died.detail)))
            raise OpenFailed(f"step '{name}' died while opening ({died.reason})", detail) from None
        if kind == "failed":
            self.close()
            raise OpenFailed(f"step '{rest[0]}' cannot open: {rest[1]}", rest[2])

    def _patience(self, seconds: float) -> None:
        """Return how long the kernel lets one read or write of the pipe wait."""
        limit = struct.pack("ll", int(seconds) + 1, 0)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, limit)

    def _send(self, message: Any) -> None:
        # one that is dead already is no error here: the wait for its answer finds out how it died
        with suppress(ConnectionError):
            self.pipe.send_bytes(pickle.dumps(message))

    def _answer(self, seconds: float, memory: float) -> Any:
        """Return the next answer. A message that the step is alive restarts the time limit."""
        try:
            while (answer := self._message(seconds, memory))[0] in (ALIVE[0], TRIED_AGAIN):
                retries.tally.add(sum(answer[1:]))
                self._check_memory(memory)
        except (EOFError, ConnectionError):
            raise self._died() from None
        if os.lseek(self.stderr.fileno(), 0, os.SEEK_CUR) > STDERR_ROOM:  # the offset is the sandbox's own too
            os.ftruncate(self.stderr.fileno(), 0)
            os.lseek(self.stderr.fileno(), 0, os.SEEK_SET)
        return answer

    def _message(self, seconds: float, memory: float) -> Any:
        """Return the next message. Raises OverLimit beyond a limit, EOFError if the process died."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while not self.pipe.poll(GLANCE):
            if self.process.poll() is not None and not self.pipe.poll():
                raise EOFError  # a child that it forked still holds the pipe
            if time.monotonic() > deadline:
                raise self._time_fault(seconds)
            self._check_memory(memory)
        return self.pipe.recv()

    def _time_fault(self, seconds: float) -> OverLimit:
        self.close()
        return OverLimit(f"took longer than its limit of {seconds:.0f} s")

    def _check_memory(self, memory: float) -> None:
        """Raise OverLimit if the sandbox uses more than `memory`; measures at most once per GLANCE."""
        if time.monotonic() < self.look_at:
            return
        self.weight = self._memory(census=self.looks % CENSUS == 0)
        if self.weight > memory:
            self.close()
            raise OverLimit(f"took more memory than its limit of {memory / 1e9:.1f} GB")
        self.looks, self.look_at = self.looks + 1, time.monotonic() + GLANCE

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
            with suppress(psutil.NoSuchProcess):  # it ended between two looks
                total += process.memory_info().rss
        return total

    def _died(self) -> ProcessDied | ProcessKilled:
        assert self.process is not None
        code = None
        with suppress(subprocess.TimeoutExpired):
            code = self.process.wait(GRACE)
        self.stderr.seek(max(0, self.stderr.seek(0, os.SEEK_END) - STDERR_TAIL))
        words = self.stderr.read().decode(errors="replace").strip()
        self.close()
        if code == -signal.SIGKILL:  # ours end in OverLimit
            return ProcessKilled(f"killed from outside (SIGKILL) at {self.weight / 1e9:.1f} GB", words)
        return ProcessDied("closed its pipe" if code is None else exit_description(code), words)
