"""Errors of lanes on their way through Ray, which wraps what an actor raises."""

from __future__ import annotations

import traceback

from pipeline.error_causes import known_cause
from pipeline.errors import OlaError, RunError


class WorkerDied(Exception):
    """An actor is gone, or its node. `str()` is what Ray says of it."""


class TransportedError(Exception):
    """Brings an error through Ray unchanged, which writes into the words of what it carries itself."""

    def __init__(self, error: OlaError) -> None:
        """The error to bring."""
        super().__init__(str(error))
        self.error = error

    def __reduce__(self) -> tuple[type[TransportedError], tuple[OlaError]]:
        """Made again from the error alone."""
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
