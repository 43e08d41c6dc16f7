"""Unwrap the errors of lanes: Ray wraps what an actor raises."""

from __future__ import annotations

import traceback

from pipeline.error_causes import known_cause
from pipeline.errors import OlaError, RunError


class WorkerDied(Exception):
    """An actor or its node died. `str()` is Ray's message."""


class TransportedError(Exception):
    """Carries an error through Ray unchanged; Ray would add text to its message."""

    def __init__(self, error: OlaError) -> None:
        """error: the error to carry."""
        super().__init__(str(error))
        self.error = error

    def __reduce__(self) -> tuple[type[TransportedError], tuple[OlaError]]:
        """Pickle the error alone."""
        return TransportedError, (self.error,)


def unwrap_ray_error(error: BaseException) -> OlaError:
    """Return the error that a lane raised, without Ray's wrapping."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TransportedError):
            return cause.error
        cause = getattr(cause, "cause", None) or cause.__cause__
    return as_ola_error(error)


def as_ola_error(error: BaseException) -> OlaError:
    """Convert an error to an OlaError: itself, or a RunError with its last line and its traceback as a note."""
    if (cause := known_cause(error)) is not None:
        return cause
    lines = str(error).strip().splitlines() or [""]
    ola_error = RunError(f"a worker failed: {type(error).__name__}: {lines[-1].strip()}")
    ola_error.add_note("".join(traceback.format_exception(error)))
    return ola_error
