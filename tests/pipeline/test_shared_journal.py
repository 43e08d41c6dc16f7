"""Journals of roots in object stores: a lost node takes little with it, and one that comes back revives nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import storage
from manifests.journal import Journal, notes_path
from manifests.ledger import Manifest
from manifests.records import Outcome
from manifests.shared_journal import SharedJournal
from pipeline.journals import journalled, keep_in_journal, part_journal
from tests import toys
from tests.object_store import bucket
from tests.toys import Pebble

NODE = """
import sys
from manifests import shared_journal
from tests import toys
from tests.toys import Inline, Take, Traced
shared_journal.INTERVAL = 0.2
root, trace = sys.argv[1:]
plan, parts = toys.planned(root, [Take(Traced(trace=trace, pause=0.05))], ["ok"] * 60, per_part=60)
toys.apply(plan, parts, Inline())
"""


@pytest.fixture(scope="module")
def store_at() -> Iterator[str]:
    with bucket("journals") as uri:
        yield uri


def node(root: str, trace: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A run on a node with a temporary folder of its own."""
    folder.mkdir()
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": path}
    return subprocess.Popen([sys.executable, "-c", NODE, root, str(trace)], env=environment)


def test_a_lost_node_costs_what_was_done_since_the_last_copy(store_at: str, tmp_path: Path) -> None:
    root, trace = f"{store_at}/lost", tmp_path / "trace"
    first = node(root, trace, tmp_path / "first")
    while toys.traced(trace).total() < 40 and first.poll() is None:
        time.sleep(0.02)
    first.kill()
    first.wait()
    done = toys.traced(trace).total()
    assert node(root, trace, tmp_path / "second").wait() == 0
    again = toys.traced(trace).total() - 60
    assert len(toys.traced(trace)) == 60
    assert again < done / 2  # of two seconds of work, what two tenths and a request took
    assert not [e.path for e in storage.listing(root, recursive=True) if "journal" in e.path]


def outcome(name: str, status: str = "ok") -> Outcome:
    records = (Pebble(id=name, source=name, weight=1),) if status == "ok" else ()
    return Outcome(name, status, 0.0, records, None if records else "bad")


@pytest.fixture
def manifest(store_at: str, request: pytest.FixtureRequest) -> Manifest:
    return Manifest(f"{store_at}/{request.node.name}", 1, "take", "abc", Pebble)


def test_journal_and_notes_are_found_by_another_node(manifest: Manifest, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    with part_journal(manifest, 0, str(one)) as path:
        journal = Journal(path, Pebble, "s", "1")
        journal.done(outcome("a\u2028b"))
        notes_path(path).write_text('["asked", {"answer": "yes"}]\n["torn', encoding="utf-8")
        journal.close(delete=False)
    with part_journal(manifest, 0, str(other)) as path:
        journal = Journal(path, Pebble, "s", "2")
        assert list(journal.outcomes) == ["a\u2028b"]
        assert Path(journal.notes).read_text(encoding="utf-8") == '["asked", {"answer": "yes"}]\n'
        journal.close(delete=True)
    assert storage.listing(manifest.root, recursive=True) == []


def test_a_worker_that_was_cut_off_revives_nothing(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    keep_in_journal(manifest, 0, [outcome("old", "failed")])
    cut_off = SharedJournal(manifest.uri(0, "journal"))
    cut_off.fetch(path)
    keep_in_journal(manifest, 0, [])  # a retry
    journal = Journal(path, Pebble, "s", "1")
    journal.done(outcome("later", "failed"))
    journal.close(delete=False)
    cut_off.push(path)
    assert journalled(manifest, 0) == []


def test_a_short_part_writes_no_journal(manifest: Manifest, tmp_path: Path) -> None:
    with part_journal(manifest, 0, str(tmp_path)) as path:
        journal = Journal(path, Pebble, "s", "1")
        journal.start(["a"])
        journal.done(outcome("a"))
        journal.close(delete=True)
    assert storage.listing(manifest.root, recursive=True) == []
