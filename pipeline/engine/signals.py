"""Handle the signals that end a command: SIGTERM (eviction, `timeout`, `ray job stop`), SIGHUP and Ctrl-C.

Each raises KeyboardInterrupt in the main thread, so that everything is closed as after Ctrl-C. The command then ends
with one line and exit code 128 + the number of the signal: 143, 129, 130. A training may postpone the exception to the
end of its step (`TerminationSignal.holds`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECOND_SIGNAL_S = 1.0  # `timeout` sends its signal twice at once; a Ctrl-C that comes later ends the clean-up
MOMENT = 0.05  # seconds
CLEANUP = 8.0  # seconds to close everything, after which child processes are killed and this one ends as it is
HOLD = 30.0  # seconds that a training has to end its step and save: as long as most schedulers wait before they kill


class TerminationSignal:
    """Handler of the signals that end this process. number: the first signal that arrived; 0: none.

    holds: whether the caller polls `asked`; SIGTERM and SIGHUP then wait up to HOLD seconds for it.
    """

    def __init__(self, how_to_go_on: str = "", at_last: Callable[[], object] = lambda: None) -> None:
        """how_to_go_on: text of the printed line. at_last: deletes temporary files if closing takes too long."""
        self.number, self.holds = 0, False
        self.how_to_go_on, self.at_last = how_to_go_on, at_last
        self._last = 0.0
        self._stderr = os.dup(2)  # the real one, also where a block sends standard error nowhere

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal and raise KeyboardInterrupt. Later signals are ignored, except a later Ctrl-C."""
        now = time.monotonic()
        if self.number and not (number == signal.SIGINT and now - self._last > SECOND_SIGNAL_S):
            return
        first, self.number, self._last = not self.number, self.number or number, now
        if first and self.holds and number != signal.SIGINT:
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, HOLD)
            return
        self._raise()

    def _raise(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

    def raise_again(self, unraisable: Any) -> None:
        """Raise KeyboardInterrupt again a moment later if `__del__` or a similar function swallowed the exception."""
        if self.number and unraisable.exc_type is KeyboardInterrupt:
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, MOMENT)
        else:
            sys.__unraisablehook__(unraisable)

    def asked(self) -> bool:
        """Return whether a signal has arrived. From the first call on, SIGTERM and SIGHUP wait for the next call."""
        self.holds = True
        return bool(self.number)

    @property
    def name(self) -> str:
        """Return the name of the first signal."""
        return signal.Signals(self.number or signal.SIGINT).name

    def say(self, line: str) -> None:
        """Print the one line on standard error."""
        with suppress(OSError):  # the terminal is gone
            os.write(self._stderr, f"ola: ended by {self.name}: {line}\n".encode())

    def watch(self, pipe: int) -> None:
        """Read signal numbers from a pipe, in a thread, and end the process if the main thread does not."""
        while (number := os.read(pipe, 1)[0]) not in ENDING:
            pass
        time.sleep(CLEANUP + (HOLD if self.holds and number != signal.SIGINT else 0.0))
        self.number = self.number or number
        _kill_children()
        self.at_last()
        self.say(self.how_to_go_on)
        os._exit(128 + self.number)


def _kill_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


@contextmanager
def handle_termination(termination: TerminationSignal) -> Iterator[None]:
    """Handle SIGINT, SIGTERM and SIGHUP by `termination` during the block. An ignored signal (`nohup`) stays ignored.

    Later signals are ignored, so that none interrupts the end of the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, termination) for number in numbers}
    mouth, ear = os.pipe()
    os.set_blocking(ear, False)
    threading.Thread(target=termination.watch, args=(mouth,), daemon=True, name="signals").start()
    awake = signal.set_wakeup_fd(ear, warn_on_full_buffer=False)
    hook, sys.unraisablehook = sys.unraisablehook, termination.raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(awake)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if termination.number else handler)


@contextmanager
def restore_handlers() -> Iterator[None]:
    """Restore the handlers of `handle_termination` after the block, since Ray installs its own, which print a stack.

    If a signal arrives during the block, Ray's handler raises SystemExit; then our handler is called.
    """
    kept: dict[signal.Signals, TerminationSignal] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in ENDING}
        kept = {number: handler for number, handler in found.items() if isinstance(handler, TerminationSignal)}
    try:
        yield
    except SystemExit:
        if signal.SIGTERM in kept:
            kept[signal.SIGTERM](signal.SIGTERM, None)
        raise
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def exit_in_one_line(how_to_go_on: str, at_last: Callable[[], object] = lambda: None) -> Iterator[TerminationSignal]:
    """Have a signal end the block with one line on standard error and SystemExit(128 + its number).

    Any exception after a signal counts as its consequence: Ray's processes may have got the signal, too. at_last:
    deletes temporary files if the block does not end in time.
    """
    handler = TerminationSignal(how_to_go_on, at_last)
    with handle_termination(handler):
        try:
            yield handler
        except BaseException as error:
            if not handler.number and not isinstance(error, KeyboardInterrupt):
                raise
            handler.say(getattr(error, "saved", "") or how_to_go_on)
            raise SystemExit(128 + (handler.number or signal.SIGINT)) from None
