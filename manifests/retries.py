"""Retry requests to stores: for how long, after which waits, and with a count of the retries.

The environment variable OLA_STORE_PATIENCE holds the minutes for which requests are retried; child processes inherit
it. The time counts from a store's last answer: if a store is down, the first request is retried for that long, and
later requests fail at once until the store answers again.
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
MINUTES = 5.0  # most outages of a store are shorter; a mistyped endpoint fails after this time
FIRST_WAIT, LONGEST_WAIT = 0.2, 15.0  # seconds; the limit doubles each time, each wait is random in its upper half
CALL_INTERVAL = 5.0  # seconds between two calls of the functions in `waiting`
T = TypeVar("T")


class PassingFault(OSError):
    """A temporary failure of a request: 5xx, 429, a lost connection, a time-out, a body that is too short.

    has_moved: whether the request made progress, as a download does that resumes.
    """

    has_moved = False


class StoreUnreachable(OSError):
    """A store did not answer within the time for retries. The requested object is not to blame."""


@dataclass
class Health:
    """The health of a store. since: start of the outage. last, words: time and message of the last failure.

    Times are monotonic seconds. was_slow: whether the last failure took long, as a time-out does. objects: up to two
    objects that failed since then.
    """

    since: float | None = None
    last: float = 0.0
    words: str = ""
    was_slow: bool = False
    objects: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record_answer(self) -> None:
        """Record that the store answered: the outage has ended."""
        self.since = None
        self.objects.clear()

    def record_failure(self, words: str, sent: float) -> float:
        """Record a failure. words: its message; sent: when the request began. Return the start of the outage."""
        with self.lock:
            self.last, self.words = time.monotonic(), words
            self.was_slow = self.last - sent > CALL_INTERVAL
            if len(self.objects) < 2:
                self.objects.add(words.partition(": ")[0])
            self.since = self.last if self.since is None else self.since
            return self.since


@dataclass
class Tally:
    """The number of retries in this process and its child processes."""

    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, more: int) -> None:
        """Add retries of this process or a child process."""
        with self.lock:
            self.number += more

    def take(self) -> int:
        """Return the number and set it to 0; a child process then reports it to its parent."""
        with self.lock:
            number, self.number = self.number, 0
            return number

    def __str__(self) -> str:
        return f"{self.number} request{'s' * (self.number != 1)} to stores tried again"


tally = Tally()
health: dict[str, Health] = {}
waiting: list[Callable[[], None]] = []  # called while a request of the main thread waits, every SIGN seconds


def patience() -> float:
    """Return the minutes for which requests are retried. Raises OSError if the variable is not a number."""
    text = os.environ.get(VARIABLE, "")
    try:
        minutes = float(text or MINUTES)
    except ValueError:
        minutes = -1.0
    if not minutes >= 0:
        raise OSError(f"{VARIABLE}: expected minutes, got {text!r}; do `export {VARIABLE}={MINUTES:g}`")
    return minutes


@contextmanager
def temporary_patience(minutes: float | None) -> Iterator[None]:
    """Set the minutes for retries, also for child processes, until the block ends; None changes nothing."""
    before = os.environ.get(VARIABLE)
    set_patience(minutes)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        os.environ.update({} if before is None else {VARIABLE: before})


def set_patience(minutes: float | None) -> None:
    """Set the minutes for retries from now on; None changes nothing."""
    if minutes is not None:
        os.environ[VARIABLE] = f"{minutes:g}"


def retry(store: str, request: Callable[[], T]) -> T:
    """Call a request until the store answers, even with an error. Return the answer.

    Raises StoreUnreachable if every call ended in a PassingFault until the time for retries was over.
    """
    seconds, state = patience() * 60, health.setdefault(store, Health())
    _check_away(store, state, seconds)
    began, wait = 0.0, 0.0
    while True:
        sent = time.monotonic()
        try:
            answer = request()
        except PassingFault as fault:
            since = state.record_failure(str(fault), sent)
            if fault.has_moved or not wait:
                began, wait = state.last, FIRST_WAIT
            if (left := seconds - (state.last - min(began, since))) <= 0:
                raise _away_error(store, state, seconds) from fault
            tally.add(1)
            _sleep(min(left, random.uniform(wait / 2, wait)))
            wait = min(LONGEST_WAIT, 2 * wait)
        except BaseException:
            state.record_answer()
            raise
        else:
            state.record_answer()
            return answer


def _check_away(store: str, state: Health, seconds: float) -> None:
    """Raise StoreUnreachable without a request if the store is down and its last failure was recent and slow."""
    if _is_away(state, seconds) and state.was_slow and time.monotonic() - state.last < LONGEST_WAIT:
        raise _away_error(store, state, seconds)


def away() -> StoreUnreachable | None:
    """Return the StoreUnreachable error of a store that is down; None if no store is."""
    seconds = patience() * 60
    found = ((store, state) for store, state in health.items() if _is_away(state, seconds))
    return next((_away_error(store, state, seconds) for store, state in found), None)


def _is_away(state: Health, seconds: float) -> bool:
    return state.since is not None and state.last - state.since >= seconds


def _away_error(store: str, state: Health, seconds: float) -> StoreUnreachable:
    waited = f"{seconds / 60:.3g} minutes" if seconds >= 60 else f"{seconds:.3g} s"
    # errors of one cause are equal: the message names the object only if all failures are of that object
    words = re.split(r"status code: |HTTP error: ", state.words.partition(": ")[2])[-1]
    if len(state.objects) == 1:
        words = f"{words} for {next(iter(state.objects), '')}"
    return StoreUnreachable(f"{store} does not answer ({words}); it was asked again for {waited} ({VARIABLE}, minutes)")


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _call_waiting()
        time.sleep(min(left, CALL_INTERVAL))
    _call_waiting()


def _call_waiting() -> None:
    for call in waiting if threading.current_thread() is threading.main_thread() else ():
        call()
