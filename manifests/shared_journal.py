"""Journals of parts in an object store: each worker's local file is copied into the root every few minutes.

A lost node loses only the records since the last copy. The copy includes the step's notes. A worker replaces the copy
only if no other worker has written it since, so a worker that was cut off cannot overwrite a newer journal.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests import drafts, object_store, storage
from manifests.journal import DONE, notes_path

INTERVAL = 120.0  # seconds between copies: the most work that a lost node loses; each copy is a request
HEAD = b"{}\n"  # first line of every copy, so that a reopened part with nothing to keep has a copy, too


class SharedJournal:
    """The copy of one part's journal at `uri`."""

    def __init__(self, uri: str, exists: bool = True) -> None:
        """Read the copy of an earlier worker. Raises OSError if the store does not answer.

        exists: False if a listing shows no copy; then no request is made.
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
        """Write the journal at `path` and its notes from the copy. Existing local lines stay, after those of the copy.

        Such lines come from a worker on this machine that was killed before it copied them.
        """
        lines = self.data.splitlines(keepends=True)
        _prepend_lines(path, [line for line in lines if line.startswith(b'{"')])
        if notes := [line for line in lines if line.startswith(b"[")]:
            _prepend_lines(notes_path(path), notes)

    def push(self, path: Path) -> None:
        """Copy the complete lines of the local files to the store, if there are new ones and no other worker wrote."""
        data = HEAD + b"".join(_whole_lines(file) for file in (path, notes_path(path)))
        if data != self.data and any(line.startswith((DONE, b"[")) for line in data.splitlines()):
            self.write(data)

    def write(self, data: bytes) -> bool:
        """Replace the copy. If another worker has replaced it since it was read, write nothing from now on.

        Returns whether the copy now has these bytes.
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
        """Return whether another worker has replaced the copy, by one request."""
        if self.lost or not object_store.holds(self.uri):
            return self.lost
        found = object_store.stat(self.uri)
        known = "" if self.version is None else self.version.get("e_tag") or ""
        return found is not None and found.stamp != known

    def remove(self) -> None:
        """Delete the copy if it exists and is this worker's."""
        if self.data and not self.lost:
            storage.remove(self.uri)

    @contextmanager
    def copying(self, path: Path) -> Iterator[None]:
        """Copy the local files every INTERVAL seconds until the block ends."""
        ended = threading.Event()

        def copy() -> None:
            while not ended.wait(INTERVAL):
                with suppress(OSError):  # the next copy may succeed
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


def _prepend_lines(path: Path, lines: list[bytes]) -> None:
    """Insert lines at the start of a file, without those that the file has already."""
    existing = _whole_lines(path)
    known = set(existing.splitlines(keepends=True))
    fresh = Path(drafts.name(str(path)))
    fresh.write_bytes(b"".join(line for line in lines if line not in known) + existing)
    os.replace(fresh, path)
