"""The cache of store answers while no other process writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manifests import storage
from manifests.snapshot import SMALL, cached, renew, snapshot, suspended
from tests.object_store import Watched, watched


@pytest.fixture
def store() -> Iterator[tuple[str, Watched]]:
    with watched("snapshots") as (uri, app):
        yield uri, app


def test_what_was_read_is_asked_for_once(store: tuple[str, Watched]) -> None:
    uri, app = store
    storage.write_bytes(f"{uri}/folder/a", b"a")
    app.requests.clear()
    with snapshot():
        for _ in range(3):
            assert storage.read_bytes(f"{uri}/folder/a") == b"a"
            assert storage.read_if_there(f"{uri}/folder/b") is None
            assert storage.exists(f"{uri}/folder/a")
            assert [entry.path for entry in storage.listing(f"{uri}/folder")] == ["a"]
    assert len(app.requests) == 4
    storage.read_bytes(f"{uri}/folder/a")
    assert len(app.requests) == 5


def test_what_this_process_writes_is_seen_at_once(store: tuple[str, Watched]) -> None:
    uri = f"{store[0]}/written"
    with snapshot():
        assert storage.read_if_there(f"{uri}/folder/a") is None
        assert storage.listing(f"{uri}/folder") == []
        assert storage.create(f"{uri}/folder/a", b"1")
        assert storage.read_bytes(f"{uri}/folder/a") == b"1"
        storage.write_bytes(f"{uri}/folder/a", b"2")
        assert storage.read_bytes(f"{uri}/folder/a") == b"2"
        assert [entry.path for entry in storage.listing(uri, recursive=True)] == ["folder/a"]
        storage.remove(f"{uri}/folder/a")
        assert storage.read_if_there(f"{uri}/folder/a") is None
        assert storage.listing(uri, recursive=True) == []


def test_what_others_write_is_seen_while_it_is_suspended_and_after_it() -> None:
    values = iter(range(10))

    def ask() -> int:
        return cached("look", "s3://b/a", lambda: next(values))

    with snapshot():
        assert [ask(), ask()] == [0, 0]
        with suspended():
            assert [ask(), ask()] == [1, 2]
        assert [ask(), ask()] == [3, 3]
        renew()
        assert ask() == 4
        with snapshot():
            assert ask() == 4
        assert ask() == 4
    assert ask() == 5


def test_an_answer_that_was_overtaken_by_a_write_is_not_kept(store: tuple[str, Watched]) -> None:
    uri, _ = store
    with snapshot():

        def slow() -> bytes:
            storage.write_bytes(f"{uri}/a", b"new")
            return b"old"

        assert cached("read", f"{uri}/a", slow) == b"old"
        assert storage.read_bytes(f"{uri}/a") == b"new"


def test_large_objects_and_errors_are_not_kept() -> None:
    sizes = iter([SMALL + 1, SMALL])

    def fails() -> bytes:
        raise OSError("away")

    with snapshot():
        assert len(cached("read", "s3://b/a", lambda: bytes(next(sizes)))) == SMALL + 1
        assert len(cached("read", "s3://b/a", lambda: bytes(next(sizes)))) == SMALL
        for _ in range(2):
            with pytest.raises(OSError, match="away"):
                cached("read", "s3://b/b", fails)
