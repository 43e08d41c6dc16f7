"""Report the damaged files that a command left out of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from manifests.ledger import Damaged
from pipeline.errors import RunError


@contextmanager
def collect_damage() -> Iterator[list[Damaged]]:
    """Give a list to which the block appends damage. After the block, raise RunError if the list is not empty."""
    found: list[Damaged] = []
    yield found
    lines = list(dict.fromkeys(map(str, found)))
    if lines:
        more = f"; {len(lines) - 1} more files are damaged: `ola status` names them" if len(lines) > 1 else ""
        raise RunError(f"{lines[0]}{more}")
