"""What this process has read of object stores while nobody else writes there, so that nothing is asked for twice.

A run that holds its root, and has no workers at work, looks at the same listings and small objects many times: to
register sources, to find what is to be done, to pack, to count. Inside `snapshot` each of them is one request. Whatever
this process writes or deletes is forgotten at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
SMALL = 1 << 16  # bytes of an object that is kept: control files, and neither rows nor media

_answers: dict[tuple[str, str], Any] | None = None  # by call and URI; None outside of a snapshot
_changes = 0  # counts what this process has written and deleted
_lock = threading.Lock()


@contextmanager
def snapshot() -> Iterator[None]:
    """Keep answers of stores while the block lasts. A block within another one changes nothing."""
    if _answers is not None:
        yield
        return
    _begin({})
    try:
        yield
    finally:
        _begin(None)


@contextmanager
def suspended() -> Iterator[None]:
    """Ask stores anew while the block lasts, in which others write, and keep no answer of before."""
    is_kept = _answers is not None
    _begin(None)
    try:
        yield
    finally:
        _begin({} if is_kept else None)


def renew() -> None:
    """Forget all answers: others may have written until now."""
    if _answers is not None:
        _begin({})


def kept(call: str, uri: str, ask: Callable[[], T]) -> T:
    """Return the answer of a call about a URI: the one that is kept, or a new one. What `ask` raises is not kept."""
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
    """Forget what was said of an object, and of the folders that it is in."""
    global _changes  # noqa: PLW0603
    with _lock:
        _changes += 1
        for call, asked in list(_answers or ()):
            if uri == asked or uri.startswith(asked.rstrip("/") + "/"):
                (_answers or {}).pop((call, asked), None)


def _begin(answers: dict[tuple[str, str], Any] | None) -> None:
    global _answers  # noqa: PLW0603  one view of the stores for the whole process
    with _lock:
        _answers = answers
