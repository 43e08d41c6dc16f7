"""Name the files that a command had to leave out of its answer, and end it with the exit code of an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from manifests.ledger import Damaged
from pipeline.errors import RunError


@contextmanager
def damage_named() -> Iterator[list[Damaged]]:
    """Give a list for the damage that is found. After the block raise RunError, of one line, if there is any."""
    found: list[Damaged] = []
    yield found
    lines = list(dict.fromkeys(map(str, found)))
    if lines:
        more = f"; and {len(lines) - 1} files more: `ola status` names them" if len(lines) > 1 else ""
        raise RunError(f"{lines[0]}{more}")
