"""The journal of a part in an object store: a worker's own file, copied into the root every few minutes.

A node that is lost takes what was done since the last copy, and no more. The copy holds the step's notes as well. It is
replaced only by the worker that read its last version, so that a worker that was cut off revives nothing later.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests import drafts, object_store, storage
from manifests.journal import DONE, notes_path

INTERVAL = 120.0  # seconds between copies: what a lost node costs, against a request each
HEAD = b"{}\n"  # of every copy: a part that was reopened with nothing to keep has one, too


class SharedJournal:
    """The copy at `uri` of one part's journal."""

    def __init__(self, uri: str, exists: bool = True) -> None:
        """Read what an earlier worker left. Raises OSError where the store does not answer.

        exists: False where a listing shows that no worker left anything; then no request is made.
        """
        self.uri, self.lost = uri, False
        if not exists:
            self.data, self.version = b"", None
            return
        found = object_store.read_version(uri) if object_store.holds(uri) else None
        if found is None and not object_store.holds(uri) and storage.exists(uri):
            self.data, self.version = storage.read_bytes(uri), None
        else:
            self.data, self.version = found if found is not None else (b"", None)

    def fetch(self, path: Path) -> None:
        """Make the local files: the journal at `path`, and its notes. Lines that are there already stay, as the last.

        They are of a worker on this machine that was killed before it could copy them.
        """
        lines = self.data.splitlines(keepends=True)
        _join(path, [line for line in lines if line.startswith(b'{"')])
        if notes := [line for line in lines if line.startswith(b"[")]:
            _join(notes_path(path), notes)

    def push(self, path: Path) -> None:
        """Copy whole lines of the local files into the store, if there are new ones and nobody else wrote meanwhile."""
        data = HEAD + b"".join(_whole_lines(file) for file in (path, notes_path(path)))
        if data != self.data and any(line.startswith((DONE, b"[")) for line in data.splitlines()):
            self.write(data)

    def write(self, data: bytes) -> bool:
        """Replace the copy, unless another worker did since it was read: then this one writes no more.

        Returns whether the copy has these bytes now.
        """
        if self.lost:
            return False
        if not object_store.holds(self.uri):
            storage.write_bytes(self.uri, data)
        elif self.version is None:
            self.version = object_store.create_version(self.uri, data)
            self.lost = self.version is None
        else:
            self.version = object_store.replace(self.uri, data, self.version)
            self.lost = self.version is None
        self.data = data
        return not self.lost

    def is_replaced(self) -> bool:
        """Whether the copy in the store is one that this worker has neither read nor written. One request."""
        if self.lost or not object_store.holds(self.uri):
            return self.lost
        found = object_store.look(self.uri)
        known = "" if self.version is None else self.version.get("e_tag") or ""
        return found is not None and found.stamp != known

    def remove(self) -> None:
        """Delete the copy, if there is one."""
        if self.data and not self.lost:
            storage.remove(self.uri)

    @contextmanager
    def copied(self, path: Path) -> Iterator[None]:
        """Copy the local files every INTERVAL while the block lasts."""
        ended = threading.Event()

        def copy() -> None:
            while not ended.wait(INTERVAL):
                with suppress(OSError):  # the next one may come through
                    self.push(path)

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _whole_lines(path: Path) -> bytes:
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def _join(path: Path, lines: list[bytes]) -> None:
    """Put lines before those of a file, but for what it holds already."""
    held = _whole_lines(path)
    known = set(held.splitlines(keepends=True))
    fresh = Path(drafts.name(str(path)))
    fresh.write_bytes(b"".join(line for line in lines if line not in known) + held)
    os.replace(fresh, path)
