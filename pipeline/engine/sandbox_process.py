"""The main program of a sandbox's process: it opens the steps, then answers batches. No worker runs this code."""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from manifests import retries
from manifests.full_disk import FULL
from manifests.retries import StoreUnreachable
from pipeline.engine.device_faults import is_device_lost
from pipeline.engine.outcomes import error_detail, error_line, run_batch
from pipeline.errors import Unavailable
from pipeline.step import Step

ALIVE = ("alive",)
TRIED_AGAIN = "tried again"  # then a number of requests to stores


def _die_with(lifeline: int) -> None:
    """Have the kernel kill this process group when the other end of the pipe closes, even if Python is blocked."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was gone before
        os.killpg(0, signal.SIGKILL)


def serve(pipe: Connection) -> None:
    """Open the steps, then answer batch after batch until the pipe closes."""
    name = "?"
    try:
        steps: list[Step[Any, Any]] = pickle.loads(pipe.recv_bytes())
        for step in steps:
            name = step.name
            step.open()
            step.alive = lambda: pipe.send(ALIVE)
    except Exception as error:  # noqa: BLE001  whatever it is, the engine says it
        pipe.send(("failed", name, error_line(error), traceback.format_exc()))
        return
    pipe.send(("open",))
    retries.waiting.append(lambda: pipe.send(ALIVE))  # the time that a store takes is not the record's
    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:
            return
        reply = _reply(pipe, steps, message)
        if number := retries.tally.take():
            pipe.send((TRIED_AGAIN, number))
        pipe.send_bytes(reply)


def _reply(pipe: Connection, steps: Sequence[Step[Any, Any]], message: bytes) -> bytes:
    """Run the batch of a message; answers that the step hands over are sent at once. Returns the last message."""
    try:
        batch, call = pickle.loads(message)
        step = steps[call.number]
        call.attach_to(step)

        def answered(answer: Any) -> None:
            pipe.send(("answer", answer, call.size(step)))
            pipe.recv_bytes()

        answers = run_batch(step, batch, answered)
        return pickle.dumps(("answers", answers, call.size(step)))
    except (Unavailable, StoreUnreachable) as error:
        return pickle.dumps(("unavailable", str(error)))
    except Exception as error:  # noqa: BLE001  whatever it is, it becomes a row
        if isinstance(error, OSError) and error.errno in FULL:
            return pickle.dumps(("unavailable", error_line(error)))
        kind = "lost its device" if is_device_lost(error) else "raised"
        return pickle.dumps((kind, error_line(error), error_detail(error)))


def main() -> None:
    """Run the process. Arguments: the file descriptors of the pipe and of the lifeline."""
    _die_with(int(sys.argv[2]))
    # if the machine runs out of memory, the kernel should take this process and not the driver; where it may not be
    # told so, the memory limit still holds
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
