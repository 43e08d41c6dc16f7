"""Journals of roots in object stores: a lost node loses little, and a returning node changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from manifests import storage
from manifests.journal import Journal, notes_path
from manifests.ledger import Manifest
from manifests.records import Outcome
from manifests.shared_journal import SharedJournal
from pipeline.engine import part_journals
from pipeline.engine.engines import RayEngine
from pipeline.engine.lane import StepLane
from pipeline.engine.part_journals import journal_outcomes, part_journal, remove_stale_journals, rewrite_journal
from pipeline.run import lanes
from tests import toys
from tests.object_store import bucket, watched
from tests.toys import Pebble, Take, Traced

NODE = """
import sys
from manifests import shared_journal
from tests import toys
from tests.toys import InlineEngine, Take, Traced
shared_journal.INTERVAL = 0.2
root, trace = sys.argv[1:]
plan, parts = toys.planned(root, [Take(Traced(trace=trace, pause=0.05))], ["ok"] * 60, per_part=60)
toys.apply(plan, parts, InlineEngine())
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


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this machine."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_journal_and_notes_are_found_by_another_node(manifest: Manifest, temporary: Path) -> None:
    with part_journal(manifest, 0, "one life of the driver", True) as file:
        journal = Journal(file.path, Pebble, "s", "1")
        journal.done(outcome("a\u2028b"))
        notes_path(file.path).write_text('["asked", {"answer": "yes"}]\n["torn', encoding="utf-8")
        journal.close(delete=False)
    with part_journal(manifest, 0, "another", True) as file:
        journal = Journal(file.path, Pebble, "s", "2")
        assert list(journal.outcomes) == ["a\u2028b"]
        assert Path(journal.notes).read_text(encoding="utf-8") == '["asked", {"answer": "yes"}]\n'
        journal.close(delete=True)
    assert storage.listing(manifest.root, recursive=True) == []
    assert not [path for path in temporary.rglob("*") if path.is_file()]


@contextmanager
def under_way(manifest: Manifest, session: str, life: str) -> Iterator[Journal]:
    """A part at work, until it is set aside."""
    with part_journal(manifest, 0, session, True) as file:
        journal = Journal(file.path, Pebble, session, life)
        try:
            yield journal
        finally:
            journal.close(delete=False)


@contextmanager
def killed_under_way(manifest: Manifest, session: str, life: str) -> Iterator[Journal]:
    """A part at work, until its worker is killed: nothing is handed over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_journals, "_hand_over", lambda *_: None)
        with under_way(manifest, session, life) as journal:
            yield journal


def test_a_worker_on_the_same_machine_knows_what_a_killed_one_had_in_flight(manifest: Manifest) -> None:
    rewrite_journal(manifest, 0, [outcome("kept")])
    with killed_under_way(manifest, "s", "1") as journal:
        journal.done(outcome("a"))
        journal.start(["b"])
        Path(journal.notes).write_text('["asked", 1]\n["torn', encoding="utf-8")
    with under_way(manifest, "s", "2") as following:
        assert list(following.outcomes) == ["kept", "a"]
        assert following.deaths("b") == 1
        assert Path(following.notes).read_text(encoding="utf-8").startswith('["asked", 1]\n')
    with under_way(manifest, "s2", "3") as after:  # the driver was started again
        assert list(after.outcomes) == ["kept", "a"]
        assert after.deaths("b") == 0


def test_what_a_session_left_on_this_machine_is_not_read_by_the_next(manifest: Manifest) -> None:
    with killed_under_way(manifest, "s", "1") as killed:
        killed.done(outcome("old", "failed"))
    rewrite_journal(manifest, 0, [])  # a retry
    with under_way(manifest, "s2", "2") as journal:
        assert journal.outcomes == {}


def test_old_journals_of_killed_runs_are_removed(manifest: Manifest, temporary: Path) -> None:
    for session in ("old", "new"):
        with killed_under_way(manifest, session, "1"):
            pass
    (old,) = temporary.rglob("old-*")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    remove_stale_journals()
    assert [path.name[:3] for path in temporary.rglob("*.journal")] == ["new"]


def test_a_worker_that_vanishes_is_blamed_in_a_store_too(store_at: str, tmp_path: Path, ray_here: None) -> None:
    trace = tmp_path / "trace"
    deeds = ["kill worker" if n == 4 else "ok" for n in range(8)]
    plan, parts = toys.planned(f"{store_at}/blame", [Take(Traced(trace=str(trace)))], deeds, per_part=8)
    here = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}  # Ray may be older than it
    plans = [replace(lane, make=partial(toys.in_environment, here, lane.make)) for lane in lanes(plan.steps, True)]
    assert RayEngine().map(plans, parts) == []
    assert toys.failures(plan.steps[0].manifest) == {"s0004": "killed its worker twice"}
    assert {line: n for line, n in toys.traced(trace).items() if n > 1} == {"take s0004": 2}


def test_a_store_that_does_not_answer_hides_no_interrupt(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(SharedJournal, "write", refuse)

    def interrupt() -> None:
        with under_way(manifest, "s", "1") as journal:
            journal.done(outcome("a"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    with under_way(manifest, "s", "2") as again:
        assert list(again.outcomes) == ["a"]


def test_a_worker_that_was_cut_off_revives_nothing(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    rewrite_journal(manifest, 0, [outcome("old", "failed")])
    cut_off = SharedJournal(manifest.uri(0, "journal"))
    cut_off.fetch(path)
    rewrite_journal(manifest, 0, [])  # a retry
    journal = Journal(path, Pebble, "s", "1")
    journal.done(outcome("later", "failed"))
    journal.close(delete=False)
    cut_off.push(path)
    assert journal_outcomes(manifest, 0) == []


def test_a_retry_wins_over_a_worker_that_writes_at_the_same_moment(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_journal(manifest, 0, [outcome("old", "failed")])
    write, cut_off = SharedJournal.write, SharedJournal(manifest.uri(0, "journal"))

    def write_second(self: SharedJournal, data: bytes) -> bool:
        monkeypatch.setattr(SharedJournal, "write", write)
        cut_off.write(cut_off.data + b"{}\n")
        return write(self, data)

    monkeypatch.setattr(SharedJournal, "write", write_second)
    rewrite_journal(manifest, 0, [outcome("new")])
    assert [one.input for one in journal_outcomes(manifest, 0)] == ["new"]
    assert not cut_off.write(cut_off.data)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_short_part_writes_no_journal_and_reads_one_that_may_be_there(is_shared: bool) -> None:
    with watched("short") as (uri, app):
        manifest = Manifest(f"{uri}/root", 1, "take", "abc", Pebble)
        with part_journal(manifest, 0, "s", is_shared) as file:
            journal = Journal(file.path, Pebble, "s", "1")
            journal.start(["a"])
            journal.done(outcome("a"))
            journal.close(delete=True)
        requests = [request for request in app.requests if "journal" in request]
    assert requests == ["GET /short/root/01-take-abc/part-000000.journal"] * is_shared


def test_a_retry_finds_the_journal_that_a_dead_worker_left_since_the_listing(store_at: str, tmp_path: Path) -> None:
    plan, _ = toys.planned(f"{store_at}/retried", [Take()], ["ok", "ok"], per_part=1)
    manifest = plan.steps[0].manifest
    lane = StepLane(plan.steps, "session", isolate=False)
    lane(0)  # lists the step's folder
    kept = Outcome("s0001", "ok", 0.0, (Pebble(id="kept", source="s0001", weight=1),), None, None)
    rewrite_journal(manifest, 1, [kept])  # as a worker on another node leaves it
    lane.refresh()
    lane(1)
    assert [outcome.records for outcome in manifest.outcomes(1)] == [kept.records]
