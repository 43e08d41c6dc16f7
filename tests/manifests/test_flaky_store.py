"""A failing store: calls give the same results as on a healthy store, faults are counted, and retries end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from manifests import object_listing, object_store, retries, storage, views
from manifests.ledger import Manifest
from manifests.retries import StoreUnreachable
from pipeline.error_causes import known_cause
from tests.flaky_proxy import Weather, flaky
from tests.object_store import forget
from tests.toys import Grain


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Weather]]:
    with flaky("flaky") as found:
        yield found


@pytest.fixture
def weather(store: tuple[str, Weather], monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.05)
    forget()
    retries.tally.take()
    yield store[1]
    store[1].clear()
    retries.tally.take()


@pytest.fixture
def folder(store: tuple[str, Weather], request: pytest.FixtureRequest) -> str:
    return f"{store[0]}/{request.node.name}"


def storm(weather: Weather) -> None:
    weather.busy, weather.reset, weather.lost, weather.cut = 0.4, 0.05, 0.05, 0.05


def test_every_call_gives_what_a_quiet_store_gives(folder: str, weather: Weather, tmp_path: Path) -> None:
    storm(weather)
    for n in range(8):
        data = bytes([n]) * 10_000
        storage.write_bytes(f"{folder}/{n}", data)
        assert storage.read_bytes(f"{folder}/{n}") == data
        assert storage.create(f"{folder}/once-{n}", data)
        assert not storage.create(f"{folder}/once-{n}", b"other")
        assert Path(storage.fetch(f"{folder}/{n}", str(tmp_path))).read_bytes() == data
        with storage.open_random(f"{folder}/{n}") as file:
            assert file.read_at(5, 9_998) == data[:2]
    found = object_store.read_version(f"{folder}/0")
    assert found is not None
    assert object_store.replace(f"{folder}/0", b"new", found[1]) is not None
    storage.remove(f"{folder}/0")
    assert not storage.exists(f"{folder}/0")
    assert retries.tally.number == sum(weather.faults.values()) > 20
    assert set(weather.faults) == {"busy", "reset", "lost", "cut"}
    # the store itself asks again for the pages of a listing: they are not counted
    assert [entry.size for entry in storage.listing(folder)] == [10_000] * 15
    assert len(storage.listing(folder, recursive=True)) == 15


def test_a_large_object_comes_and_goes_whole(folder: str, weather: Weather, tmp_path: Path) -> None:
    weather.busy, weather.cut = 0.2, 0.5
    data = bytes(range(256)) * (20 << 12)
    with storage.draft(f"{folder}/large") as path:
        Path(path).write_bytes(data)
    for n in range(3):
        assert Path(storage.fetch(f"{folder}/large", str(tmp_path))).read_bytes() == data, n
        Path(storage.copy_path(f"{folder}/large", str(tmp_path))).unlink()
    assert weather.faults["cut"]


def test_a_listing_of_many_pages_goes_on_behind_the_last_one(
    folder: str, weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    monkeypatch.setattr(object_listing, "PAGE", 5)
    for n in range(40):
        object_store.write(f"{folder}/{n:04d}", b"x")
    storm(weather)
    assert [entry.path for entry in storage.listing(folder, recursive=True)] == [f"{n:04d}" for n in range(40)]
    assert weather.faults["busy"]


def test_queries_read_through_the_same_place(folder: str, weather: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(folder, 1, "grain", "k", Grain)
    for part in range(4):
        manifest.commit(part, [], [])
    storm(weather)
    with views.connect(folder, [manifest], {}) as connection:
        assert connection.sql("SELECT count(*) FROM grain").fetchall() == [(0,)]
    monkeypatch.setenv(retries.VARIABLE, "0.003")
    weather.clear()
    with views.connect(folder, [manifest], {}) as connection:
        weather.gone = True
        with pytest.raises(duckdb.Error, match="does not answer") as raised:
            connection.sql("SELECT * FROM grain").fetchall()
    cause = known_cause(raised.value)
    assert cause is not None
    assert str(cause).startswith("s3://flaky does not answer (503 Service Unavailable")


def test_a_store_that_stays_away_costs_the_patience_once(
    folder: str, weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(retries.VARIABLE, "0.01")
    weather.gone = True
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(StoreUnreachable, match=r"s3://flaky does not answer \(503 Service Unavailable.*0\.6 s"):
            storage.read_bytes(f"{folder}/x")
    assert 0.5 < time.monotonic() - began < 3
    weather.gone = False
    assert not storage.exists(f"{folder}/x")
    assert retries.away() is None


def test_what_does_not_pass_is_said_at_once(folder: str, weather: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{folder}/nothing")
    monkeypatch.setenv(retries.VARIABLE, "soon")
    with pytest.raises(OSError, match="OLA_STORE_PATIENCE: expected minutes, got 'soon'"):
        storage.read_bytes(f"{folder}/nothing")
    assert retries.tally.number == 0


def test_a_store_that_falls_silent_is_asked_again(
    folder: str, weather: Weather, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The store accepts a request without an answer, or stops in the middle of a body with an open connection."""
    monkeypatch.setattr(object_store, "SILENCE", 1)
    forget()  # of connections with a longer patience
    data = bytes(100_000)
    storage.write_bytes(f"{folder}/a", data)
    for kind in ("silent", "stalled"):
        weather.clear()
        weather.random.seed(1)  # the first of these draws is 0.13, the next ones are above
        setattr(weather, kind, 0.2)
        assert storage.read_bytes(f"{folder}/a") == data
        assert weather.faults[kind] == 1
    weather.clear()
    weather.silent = 1.0
    began = time.monotonic()
    with retries.temporary_patience(0.02), pytest.raises(StoreUnreachable):
        storage.read_bytes(f"{folder}/a")
    assert time.monotonic() - began < 30
