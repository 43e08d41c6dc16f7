"""Turn errors with a known external cause (a store that is down, a full disk, a damaged file) into one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from manifests import retries
from manifests.full_disk import is_full
from manifests.ledger import Damaged, one_line
from manifests.retries import StoreUnreachable
from pipeline.errors import OlaError, RunError, StaysOpen

DAMAGE = re.compile(r"(?:\S+://|/)\S.*? is damaged: delete it and run again \([^)]*\)")  # within an error of DuckDB


def known_cause(error: BaseException) -> OlaError | None:
    """Return an OlaError that says what to do about the error's cause; None if the cause is unknown."""
    if isinstance(error, OlaError):
        return error
    away = error if isinstance(error, StoreUnreachable) else retries.away() if isinstance(error, duckdb.Error) else None
    if away is not None:
        return StaysOpen(f"{away}; committed parts are kept: run again")
    if is_full(error):
        return RunError(f"no space left: {_file(error)}; make space and run again")
    if isinstance(error, Damaged):
        return RunError(str(error))
    damage = DAMAGE.search(one_line(error)) if isinstance(error, duckdb.Error) else None
    return RunError(damage[0]) if damage else None


def _file(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return str(name) if name else one_line(error)


@contextmanager
def explain_known_errors() -> Iterator[None]:
    """Raise errors with a known cause as an OlaError of one line."""
    try:
        yield
    except Exception as error:
        cause = known_cause(error)
        if cause is None or cause is error:
            raise
        raise cause from error
