"""What is nobody's row: faults of the machine, of a store, of a file, of our own code. The part is set aside.

A part that is set aside stays open: its later steps are skipped in this run, all other parts go on, and the run names
it at the end. The next run takes it up again, with what its journal holds. Whose fault a death is:

    a step's process exits or crashes twice          the record's: `failed`
    a step's process gets a SIGKILL not from us      the machine's: tried again after WAITS, then set aside
    a worker vanishes twice with a record in flight  the record's: `failed`; deaths of a lost node do not count
    LIVES workers vanish outside any record          unknown: set aside
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from manifests.journal import Journal
from pipeline.cell import NO_SPACE, one_line
from pipeline.errors import ConfigError, Killed, OlaError, OpenFailed, RunError, SetAside, Unavailable
from pipeline.plan import Plan

WAITS = (5.0, 30.0)  # seconds between tries after a SIGKILL from outside: who took the memory may end meanwhile
LIVES = 3  # workers that may vanish outside any record before their part is set aside
Result = TypeVar("Result")


class Incomplete(OlaError):
    """All that could be done of a run is done, and some parts are set aside."""

    def __init__(self, plan: Plan, aside: Sequence[SetAside]) -> None:
        """Keep both for the report."""
        super().__init__(f"{len(aside)} of the parts are set aside: {aside[0]}")
        self.plan, self.aside = plan, tuple(aside)


def patiently(call: Callable[[], Result]) -> Result:
    """Return what `call` returns; after a SIGKILL from outside, try again after each of WAITS.

    Raises the last Killed, or OpenFailed if the step was killed each time while it opened: no part would fare better.
    """
    for wait in WAITS:
        try:
            return call()
        except Killed:
            time.sleep(wait)
    try:
        return call()
    except Killed as error:
        if error.opening:
            raise OpenFailed(f"{error}, {len(WAITS) + 1} times: is there memory enough?") from error
        raise


def check_lives(part: int, step: str, journal: Journal) -> None:
    """Raise SetAside if LIVES workers have begun this part and vanished outside any record."""
    lives = journal.vanished()
    if lives >= LIVES:
        raise SetAside(part, step, f"its worker died {lives} times while no record was in flight")


@contextmanager
def setting_aside(part: int, step: str, debugging: bool = False) -> Iterator[None]:
    """Raise SetAside for what goes wrong in the block, but let pass what ends the run.

    ConfigError, RunError and OpenFailed end it, and so does a full disk, as a RunError that names the file.
    debugging: errors that are not ours pass as they are.
    """
    try:
        yield
    except (SetAside, ConfigError, RunError):
        raise
    except Unavailable as error:
        raise SetAside(part, step, one_line(error)) from error
    except Exception as error:
        if debugging:
            raise
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            where = f": {error.filename}" if error.filename else ""
            raise RunError(f"{error.strerror}{where} (part {part} of '{step}')") from error
        raise SetAside(part, step, one_line(error), traceback.format_exc()) from error
