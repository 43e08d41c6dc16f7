"""Requests to stores that fail for a while are made again: how long, after which waits, and how often it was done.

The patience is a number of minutes in the environment (OLA_STORE_PATIENCE), so processes that are started here have the
same. It counts from the last answer of a store: when a store stays away, the first request waits for as long, and those
after it fail at once, until the store answers again.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

VARIABLE = "OLA_STORE_PATIENCE"
MINUTES = 5.0  # a store's bad minutes are rarely more; a mistyped endpoint is known after as long
FIRST_WAIT, LONGEST_WAIT = 0.2, 15.0  # seconds; each wait is drawn from the upper half of twice the one before
SIGN = 5.0  # seconds of a wait between two calls of `waiting`
T = TypeVar("T")


class PassingFault(OSError):
    """A request failed in a way that may pass: 5xx, 429, a cut connection, a time-out, a body that is too short.

    has_moved: whether the request came further than the one before, as a download does that goes on where it was.
    """

    has_moved = False


class StoreAway(OSError):
    """A store failed for as long as requests are made again. That is no fault of what was asked for."""


@dataclass
class Health:
    """What is known of a store: since when it has failed, its last failure, and why (monotonic seconds).

    was_slow: whether the last failure took long, as a time-out does. objects: up to two that did not come since then.
    """

    since: float | None = None
    last: float = 0.0
    words: str = ""
    was_slow: bool = False
    objects: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self) -> None:
        """The store answers."""
        self.since = None
        self.objects.clear()

    def failed(self, words: str, asked: float) -> float:
        """The store failed just now, after it was asked. Return since when it has."""
        with self.lock:
            self.last, self.words = time.monotonic(), words
            self.was_slow = self.last - asked > SIGN
            if len(self.objects) < 2:
                self.objects.add(words.partition(": ")[0])
            self.since = self.last if self.since is None else self.since
            return self.since


@dataclass
class Tally:
    """How often requests were made again in this process and those that it started."""

    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, more: int) -> None:
        """Count requests that were made again, here or in another process."""
        with self.lock:
            self.number += more

    def take(self) -> int:
        """Return the number and set it to 0: for a process that reports it to another one."""
        with self.lock:
            number, self.number = self.number, 0
            return number

    def __str__(self) -> str:
        return f"{self.number} request{'s' * (self.number != 1)} to stores tried again"


tally = Tally()
health: dict[str, Health] = {}
waiting: list[Callable[[], None]] = []  # called while a request of the main thread waits, every SIGN seconds


def patience() -> float:
    """Minutes that requests are made again. Raises OSError where the environment names no number."""
    text = os.environ.get(VARIABLE, "")
    try:
        minutes = float(text or MINUTES)
    except ValueError:
        minutes = -1.0
    if not minutes >= 0:
        raise OSError(f"{VARIABLE}: expected minutes, got {text!r}; do `export {VARIABLE}={MINUTES:g}`")
    return minutes


@contextmanager
def patient_for(minutes: float | None) -> Iterator[None]:
    """Have this patience, in processes that are started as well, until the block ends; None: as it was."""
    before = os.environ.get(VARIABLE)
    be_patient_for(minutes)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        os.environ.update({} if before is None else {VARIABLE: before})


def be_patient_for(minutes: float | None) -> None:
    """Have this patience from now on; None: as it was."""
    if minutes is not None:
        os.environ[VARIABLE] = f"{minutes:g}"


def repeated(store: str, request: Callable[[], T]) -> T:
    """Make a request to a store until there is an answer, which may be an error.

    Raises StoreAway where all requests ended in a PassingFault for the whole patience.
    """
    seconds, state = patience() * 60, health.setdefault(store, Health())
    _check_away(store, state, seconds)
    began, wait = 0.0, 0.0
    while True:
        asked = time.monotonic()
        try:
            answer = request()
        except PassingFault as fault:
            since = state.failed(str(fault), asked)
            if fault.has_moved or not wait:
                began, wait = state.last, FIRST_WAIT
            if (left := seconds - (state.last - min(began, since))) <= 0:
                raise _away(store, state, seconds) from fault
            tally.add(1)
            _sleep(min(left, random.uniform(wait / 2, wait)))
            wait = min(LONGEST_WAIT, 2 * wait)
        except BaseException:
            state.answered()
            raise
        else:
            state.answered()
            return answer


def _check_away(store: str, state: Health, seconds: float) -> None:
    """Raise StoreAway where the store is known to be away, and let somebody wait a moment ago: it is not asked."""
    if _is_away(state, seconds) and state.was_slow and time.monotonic() - state.last < LONGEST_WAIT:
        raise _away(store, state, seconds)


def away() -> StoreAway | None:
    """The error of a store that is known to be away; None where there is none."""
    seconds = patience() * 60
    found = ((store, state) for store, state in health.items() if _is_away(state, seconds))
    return next((_away(store, state, seconds) for store, state in found), None)


def _is_away(state: Health, seconds: float) -> bool:
    return state.since is not None and state.last - state.since >= seconds


def _away(store: str, state: Health, seconds: float) -> StoreAway:
    waited = f"{seconds / 60:.3g} minutes" if seconds >= 60 else f"{seconds:.3g} s"
    # without what differs from one request to the next, so that errors of one cause are equal; but one object alone
    # may be what is wrong
    words = re.split(r"status code: |HTTP error: ", state.words.partition(": ")[2])[-1]
    if len(state.objects) == 1:
        words = f"{words} for {next(iter(state.objects), '')}"
    return StoreAway(f"{store} does not answer ({words}); it was asked again for {waited} ({VARIABLE}, minutes)")


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _give_sign()
        time.sleep(min(left, SIGN))
    _give_sign()


def _give_sign() -> None:
    for call in waiting if threading.current_thread() is threading.main_thread() else ():
        call()
