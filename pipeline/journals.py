"""Where a part's journal lies: beside the part; for a root in an object store, in a copy that outlives its node."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from manifests import storage
from manifests.journal import Journal, journal_path, write_journal
from manifests.ledger import Manifest
from manifests.records import Outcome
from manifests.shared_journal import HEAD, SharedJournal


@contextmanager
def part_journal(manifest: Manifest, part: int, scratch: str) -> Iterator[Path]:
    """The local file of a part's journal, with what earlier workers left. The worker deletes it when it commits.

    scratch: folder for files that are this attempt's alone.
    """
    if storage.is_local(manifest.root):
        yield journal_path(manifest.root, manifest.path(part, "journal"))
        return
    path, shared = Path(scratch, f"{uuid.uuid4().hex}.journal"), SharedJournal(manifest.uri(part, "journal"))
    shared.fetch(path)
    try:
        with shared.copied(path):
            yield path
    finally:
        if path.exists():
            shared.push(path)
        else:
            shared.remove()


def journalled(manifest: Manifest, part: int) -> list[Outcome]:
    """What the journal of a part under way has."""
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


def keep_in_journal(manifest: Manifest, part: int, outcomes: Sequence[Outcome]) -> None:
    """Make these outcomes, and nothing else, what the next worker at a part finds done."""
    if storage.is_local(manifest.root):
        path = journal_path(manifest.root, manifest.path(part, "journal"))
        if outcomes:
            write_journal(path, manifest.record, outcomes)
        else:
            path.unlink(missing_ok=True)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        write_journal(path, manifest.record, outcomes)
        SharedJournal(manifest.uri(part, "journal")).write(HEAD + path.read_bytes())
