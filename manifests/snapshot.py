"""Cache answers of object stores while no other process writes there, so that no request is made twice.

A run that holds its root and has no workers running reads the same listings and small objects many times: to register
sources, to find pending parts, to pack, to count. Inside `snapshot` each of them is one request. Writes and deletions
by this process invalidate the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
SMALL = 1 << 16  # largest object in bytes that is cached: control files, but neither rows nor media

_answers: dict[tuple[str, str], Any] | None = None  # by call and URI; None outside a snapshot
_changes = 0  # number of writes and deletions by this process
_lock = threading.Lock()


@contextmanager
def snapshot() -> Iterator[None]:
    """Cache answers of stores until the block ends. A nested block changes nothing."""
    if _answers is not None:
        yield
        return
    _set_answers({})
    try:
        yield
    finally:
        _set_answers(None)


@contextmanager
def suspended() -> Iterator[None]:
    """Disable and clear the cache until the block ends, because other processes write."""
    is_kept = _answers is not None
    _set_answers(None)
    try:
        yield
    finally:
        _set_answers({} if is_kept else None)


def renew() -> None:
    """Clear the cache: other processes may have written."""
    if _answers is not None:
        _set_answers({})


def cached(call: str, uri: str, ask: Callable[[], T]) -> T:
    """Return the cached answer for a call and a URI, or call `ask` and cache its answer. Errors are not cached."""
    answers, changes = _answers, _changes
    if answers is None:
        return ask()
    with _lock:
        if (call, uri) in answers:
            answer: T = answers[call, uri]
            return answer
    answer = ask()
    with _lock:
        is_large = isinstance(answer, bytes) and len(answer) > SMALL
        if changes == _changes and not is_large:
            answers[call, uri] = answer
    return answer


def forget(uri: str) -> None:
    """Remove the cached answers about an object and the folders that contain it."""
    global _changes  # noqa: PLW0603
    with _lock:
        _changes += 1
        for call, cached_uri in list(_answers or ()):
            if uri == cached_uri or uri.startswith(cached_uri.rstrip("/") + "/"):
                (_answers or {}).pop((call, cached_uri), None)


def _set_answers(answers: dict[tuple[str, str], Any] | None) -> None:
    global _answers  # noqa: PLW0603  one view of the stores for the whole process
    with _lock:
        _answers = answers
