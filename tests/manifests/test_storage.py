"""Storage: a write is visible as a whole or not at all, for any path name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import storage

ODD = 'it\'s [a] "b" *c? {d} e#f%20'


@pytest.fixture
def odd(tmp_path: Path) -> str:
    """A root with all the characters that some language gives a meaning."""
    return str(tmp_path / ODD)


def names(root: str) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())


def test_bytes_are_written_read_and_listed(odd: str) -> None:
    uri = storage.join(odd, "a b", "part.parquet")
    assert not storage.exists(uri)
    assert storage.listing(odd) == []
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"second")
    assert storage.read_bytes(uri) == b"second"
    assert storage.exists(uri)
    assert not storage.exists(storage.join(odd, "a b"))
    assert storage.listing(odd) == []
    assert [(e.path, e.size) for e in storage.listing(odd, recursive=True)] == [("a b/part.parquet", 6)]
    with storage.open_random(uri) as file:
        assert file.read_at(3, 1) == b"eco"
    storage.remove(uri)
    storage.remove(uri)
    assert names(odd) == []


def test_a_draft_that_raises_leaves_what_was_there(odd: str) -> None:
    uri = storage.join(odd, "x")
    storage.write_bytes(uri, b"old")

    def fail() -> None:
        with storage.draft(uri) as path:
            Path(path).write_bytes(b"half of the n")
            assert storage.read_bytes(uri) == b"old"
            assert [entry.path for entry in storage.listing(odd)] == ["x"]
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    assert storage.read_bytes(uri) == b"old"
    assert names(odd) == ["x"]


def test_a_draft_that_was_never_written_is_an_error(odd: str) -> None:
    def fail() -> None:
        with storage.draft(storage.join(odd, "x")):
            pass

    with pytest.raises(FileNotFoundError):
        fail()
    assert names(odd) == []


def test_drafts_of_killed_runs_are_removed_and_nothing_else(odd: str) -> None:
    for name in ("a/part-000000.tar", "b"):
        Path(storage.draft_path(storage.join(odd, name))).write_bytes(b"half")
    storage.write_bytes(storage.join(odd, "a", "kept"), b"")
    assert len(names(odd)) == 3
    storage.remove_drafts(odd)
    assert names(odd) == ["a/kept"]


def test_two_drafts_of_one_file_do_not_meet(odd: str) -> None:
    uri = storage.join(odd, "x")
    with storage.draft(uri) as one, storage.draft(uri) as other:
        Path(one).write_bytes(b"one")
        Path(other).write_bytes(b"other")
    assert storage.read_bytes(uri) == b"one"  # the outer block ends last


def test_fetch_of_a_local_file_is_the_file(odd: str) -> None:
    storage.write_bytes(storage.join(odd, "x"), b"1")
    assert storage.fetch(storage.join(odd, "x"), "nowhere") == storage.join(odd, "x")


def test_paths_have_one_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = f"{tmp_path}/a"
    assert {storage.normal(form) for form in ("a", "./a/", f"file://{tmp_path}/a", "~/a", Path("a"))} == {wanted}
    assert storage.normal("s3://bucket/a/") == "s3://bucket/a"


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_join_is_what_a_path_is(pieces: list[str]) -> None:
    assert storage.join("/root/", *pieces) == "/root/" + "/".join(pieces)
    assert storage.is_local(storage.join("/root", "x"))
    assert not storage.is_local(storage.join("gs://root", *pieces))


def test_a_file_that_is_not_there_says_which(odd: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        storage.read_bytes(storage.join(odd, "x"))
    assert os.fspath(caught.value.filename) == storage.join(odd, "x")


@pytest.mark.parametrize("links", [True, False])
def test_create_never_replaces(odd: str, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    uri = storage.join(odd, "a b", "x")
    assert storage.create(uri, b"one")
    assert not storage.create(uri, b"other")
    assert storage.create(uri, b"one")
    assert storage.read_bytes(uri) == b"one"
    assert names(odd) == ["a b/x"]


def test_of_many_that_create_one_wins(odd: str) -> None:
    uri = storage.join(odd, "x")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: storage.create(uri, b"%d" % n), range(40)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)
    assert names(odd) == ["x"]


def test_the_stamp_of_a_local_file_is_its_time(odd: str) -> None:
    uri = storage.join(odd, "x")
    storage.write_bytes(uri, b"1")
    os.utime(uri, ns=(5, 1_700_000_000_000_000_001))
    looked = storage.stat(uri)
    assert looked is not None
    assert looked.stamp == storage.listing(odd)[0].stamp == storage.stamp_of(uri, "nowhere") == "1700000000000000001"


DIE = """
import os, signal, sys
from manifests import storage
with storage.draft("s3://bucket/folder/train-000000.tar") as path:
    open(path, "wb").write(bytes(1000))
    print(path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_drafts_of_killed_writers_to_stores_go_when_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}

    def killed() -> Path:
        done = subprocess.run([sys.executable, "-c", DIE], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        return Path(done.stdout.strip())

    mine = Path(storage.draft_path("s3://bucket/other.tar"))
    mine.write_bytes(b"at work")
    first = killed()
    assert first.exists()
    second = killed()
    assert (first.exists(), second.exists(), mine.exists()) == (False, True, True)
    reused = mine.with_name(f"x{storage.DRAFT}-{os.getpid()}-0123abcd")
    reused.write_bytes(b"of an older process with this id")
    os.utime(reused, (0, 0))
    storage.remove_drafts("s3://bucket/root")
    assert sorted(mine.parent.iterdir()) == [mine]
