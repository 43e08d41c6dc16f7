"""Recognise errors of a full disk or quota, and name the file that did not fit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

FULL = (errno.ENOSPC, errno.EDQUOT)  # full disk or quota: never a `failed` row, since no record caused it
WORDS = tuple(os.strerror(number) for number in FULL)  # DuckDB and safetensors raise errors without errno


def is_full(error: BaseException) -> bool:
    """Return whether an error or one of its causes is a full disk or quota."""
    cause: BaseException | None = error
    while cause is not None:
        if (isinstance(cause, OSError) and cause.errno in FULL) or any(words in str(cause) for words in WORDS):
            return True
        cause = cause.__cause__
    return False


@contextmanager
def name_full_disk_file(path: str) -> Iterator[None]:
    """Add the file name to an error of a full disk: Python's own error from a write has none."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), path) from error
        raise
