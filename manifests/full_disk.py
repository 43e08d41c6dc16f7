"""A disk or a quota that is full: how it is told from other errors, and the name of the file that did not fit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk or a quota: no fault of the record, which is not blamed for it
WORDS = tuple(os.strerror(number) for number in FULL)  # DuckDB and safetensors give no number


def is_full(error: BaseException) -> bool:
    """Tell whether an error, or what it came from, is a full disk."""
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in FULL) or any(words in str(seen) for words in WORDS):
            return True
        seen = seen.__cause__
    return False


@contextmanager
def file_named(path: str) -> Iterator[None]:
    """Name the file in the error of a full disk: Python's own has no name where a write fails."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), path) from error
        raise
