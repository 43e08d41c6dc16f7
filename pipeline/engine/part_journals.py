"""Local files of journals: beside the part of a local root, or in a temporary folder with a copy in the object store.

A worker of a root in an object store writes to a local file named after the session. The next worker on this machine
reads which records were running when the last one was killed; files of earlier sessions are not read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from manifests import storage
from manifests.journal import NOTES, Journal, journal_path, notes_path, write_journal
from manifests.ledger import Manifest
from manifests.records import Outcome
from manifests.shared_journal import HEAD, SharedJournal
from pipeline.media.media_draft import MARK, remove_stale_drafts, remove_unlocked

STALE = 7 * 86400.0  # seconds: a file that nobody has written for so long is of a run that was killed


@dataclass(frozen=True)
class JournalFile:
    """The local file of a part's journal. shared: its copy in the root, for roots in object stores."""

    path: Path
    shared: SharedJournal | None = None

    def is_replaced(self, journal: Journal) -> bool:
        """Return whether another process has replaced the journal since it was opened, because it reopened the part.

        A deleted journal was not replaced: another worker has committed the part.
        """
        if self.shared is not None:
            return self.shared.is_replaced()
        with suppress(FileNotFoundError):
            return not os.path.samestat(os.fstat(journal.file.fileno()), os.stat(self.path))
        return False


@contextmanager
def part_journal(manifest: Manifest, part: int, session: str, is_shared: bool) -> Iterator[JournalFile]:
    """Open the local file of a part's journal, with the lines of earlier workers. A commit deletes it.

    session: id of this run of the driver. is_shared: whether the root may hold a copy; used for object stores only.
    """
    if storage.is_local(manifest.root):
        yield JournalFile(journal_path(manifest.root, manifest.path(part, "journal")))
        return
    path, shared = _session_path(manifest, part, session), SharedJournal(manifest.uri(part, "journal"), is_shared)
    shared.fetch(path)
    try:
        with shared.copying(path):
            yield JournalFile(path, shared)
    finally:
        with suppress(OSError):  # a store that does not answer must hide neither a commit nor an interrupt
            _hand_over(shared, path)


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"ola-journals-{os.getuid()}")


def _session_path(manifest: Manifest, part: int, session: str) -> Path:
    _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    return _folder() / f"{session}-{_digest(manifest, part)}.journal"


def _digest(manifest: Manifest, part: int) -> str:
    return hashlib.sha256(manifest.uri(part).encode()).hexdigest()[:24]


def draft_base(manifest: Manifest, part: int) -> Path:
    """Return the path that the drafts of a part's tar begin with: beside the journal, the same in every session."""
    if storage.is_local(manifest.root):
        return Path(storage.normal(manifest.uri(part, "tar")))
    return _folder() / f"{_digest(manifest, part)}.tar"


def _hand_over(shared: SharedJournal, path: Path) -> None:
    """Copy the journal of an open part into the root for the next worker; delete that of a committed part."""
    if not path.exists():
        shared.remove()
        return
    shared.push(path)
    for file in (path, notes_path(path)):
        file.unlink(missing_ok=True)


def remove_stale_journals() -> None:
    """Delete the journals, and the drafts of tars, that killed runs left on this machine long ago."""
    remove_stale_drafts(_folder())
    for path in _folder().glob("*"):
        with suppress(OSError):  # somebody was faster
            if MARK not in path.name and time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def remove_left_journals(manifest: Manifest) -> None:
    """Delete the journals and drafts of tars of workers that were killed right after their commit.

    To be called by the process that holds the root, while none of its workers runs.
    """
    files = manifest.listed()
    for part in sorted(files.journals & files.committed().keys()):
        uri, drafts = manifest.uri(part, "journal"), draft_base(manifest, part)
        remove_unlocked(drafts.parent.glob(f"{drafts.name}{MARK}*"))
        storage.remove(f"{uri}{NOTES}")
        storage.remove(uri)  # last: a draft beside a journal is kept


def journal_outcomes(manifest: Manifest, part: int) -> list[Outcome]:
    """Return the outcomes in the journal of an open part."""
    if storage.is_local(manifest.root):
        return _outcomes(journal_path(manifest.root, manifest.path(part, "journal")), manifest.record)
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        SharedJournal(manifest.uri(part, "journal")).fetch(path)
        return _outcomes(path, manifest.record)


def _outcomes(path: Path, record: type) -> list[Outcome]:
    if not path.exists():
        return []
    journal = Journal(path, record, session="", life="")
    journal.close(delete=False)
    return list(journal.outcomes.values())


def rewrite_journal(manifest: Manifest, part: int, outcomes: Sequence[Outcome]) -> None:
    """Replace the journal of a part, so that the next worker finds exactly these outcomes done.

    The journal is replaced even without outcomes, so that a worker that still has the old journal commits nothing.
    """
    if storage.is_local(manifest.root):
        write_journal(journal_path(manifest.root, manifest.path(part, "journal")), manifest.record, outcomes)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        write_journal(path, manifest.record, outcomes)
        data, uri = HEAD + path.read_bytes(), manifest.uri(part, "journal")
        while not SharedJournal(uri).write(data):
            pass  # a worker that was cut off wrote at the same moment; its next copy is refused


def remove_local_journals(manifest: Manifest, part: int) -> None:
    """Delete the local journals of a part of a root in an object store."""
    name = _digest(manifest, part)
    for path in [*_folder().glob(f"*-{name}.journal*"), *_folder().glob(f"{name}.tar{MARK}*")]:
        path.unlink(missing_ok=True)
