"""Object stores: whole writes, conditions, stamps, lengths and keys, with the number of requests that each takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from manifests import object_store, retries, storage
from manifests.object_file import END
from tests.manifests.test_storage import ODD
from tests.object_store import Answer, Watched, client, forget, watched

BUCKET = "objects"


@pytest.fixture(scope="module")
def watched_store() -> Iterator[tuple[str, Watched]]:
    with watched(BUCKET) as found:
        yield found


@pytest.fixture
def seen(watched_store: tuple[str, Watched]) -> Iterator[Watched]:
    """The requests to the store; it answers as it should again when the test is over."""
    _, store = watched_store
    store.requests.clear()
    yield store
    store.before = store.after = lambda _: None


@pytest.fixture
def folder(watched_store: tuple[str, Watched], request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return f"{watched_store[0]}/{request.node.name}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, seen: Watched) -> Iterator[None]:
    """Requests are made again for a tenth of a second, without long waits."""
    monkeypatch.setenv(retries.VARIABLE, str(0.1 / 60))
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    forget()
    yield
    forget()


def key(uri: str) -> str:
    return uri.removeprefix(f"s3://{BUCKET}/")


def stored(uri: str, data: bytes = b"x") -> None:
    """Write an object as somebody else would."""
    client().put_object(Bucket=BUCKET, Key=key(uri), Body=data)


def first(requests: int, answer: Answer, kind: str) -> Callable[[str], Answer | None]:
    """Give this answer to so many requests of a kind, and none to others."""
    left = [requests]

    def give(request: str) -> Answer | None:
        if not request.startswith(kind) or not left[0]:
            return None
        left[0] -= 1
        return answer

    return give


def test_what_each_call_costs(folder: str, seen: Watched, tmp_path: Path) -> None:
    uri = storage.join(folder, ODD, "part.parquet")

    def requests(call: Callable[[], object]) -> list[str]:
        seen.requests.clear()
        call()
        return [request.split(" ")[0] for request in seen.requests]

    assert requests(lambda: storage.write_bytes(uri, b"abc")) == ["PUT"]
    assert requests(lambda: storage.exists(uri)) == ["HEAD"]
    assert requests(lambda: storage.stat(uri)) == ["HEAD"]
    assert requests(lambda: storage.read_bytes(uri)) == ["GET"]
    assert requests(lambda: storage.fetch(uri, str(tmp_path))) == ["GET"]
    assert requests(lambda: storage.fetch(uri, str(tmp_path))) == []
    assert requests(lambda: storage.stamp_of(uri, str(tmp_path))) == []
    assert requests(lambda: storage.create(uri + "2", b"abc")) == ["PUT"]
    assert requests(lambda: storage.listing(folder, recursive=True)) == ["GET"]
    assert requests(lambda: storage.remove(uri)) == ["POST"]
    assert requests(lambda: storage.remove(uri)) == ["POST"]
    assert not storage.exists(uri)
    assert not storage.exists(storage.join(folder, ODD))
    assert [(e.path, e.size) for e in storage.listing(folder, recursive=True)] == [(f"{ODD}/part.parquet2", 3)]
    assert storage.listing(folder) == []


def test_a_large_upload_that_fails_is_aborted_and_leaves_what_was_there(folder: str, seen: Watched) -> None:
    uri = storage.join(folder, "x.tar")
    storage.write_bytes(uri, b"old")
    seen.before = lambda request: (400, b"<Error><Code>Bad</Code></Error>") if "partNumber=3" in request else None
    with pytest.raises(OSError, match="Bad"):
        storage.write_bytes(uri, bytes(40 << 20))
    assert storage.read_bytes(uri) == b"old"
    assert [request for request in seen.requests if request.startswith("DELETE")]
    assert not client().list_multipart_uploads(Bucket=BUCKET).get("Uploads")
    seen.before = lambda _: None
    storage.write_bytes(uri, bytes(40 << 20))
    assert storage.stat(uri) == storage.Entry(key(uri), 40 << 20, storage.listing(folder)[0].stamp)


PLACE = """
import sys
from manifests import storage
def most():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) >> 10
with storage.draft(sys.argv[1]) as path:
    with open(path, "wb") as file:
        file.truncate(300 << 20)
    before = most()
print(most() - before)
"""


def test_a_large_file_is_not_read_into_memory(folder: str, seen: Watched) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", PLACE, storage.join(folder, "large.tar")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True)
    assert int(done.stdout) < 150  # MB: four parts of 8 MB in flight, each held twice


def test_create_writes_once(folder: str, seen: Watched) -> None:
    uri = storage.join(folder, "x")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: storage.create(uri, b"%d" % n), range(8)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)
    assert not storage.create(uri, b"other")


def test_a_write_whose_answer_is_lost_is_no_other_writers(folder: str, impatient: None, seen: Watched) -> None:
    uri = storage.join(folder, "x")
    seen.after = first(1, (503, b""), "PUT")
    assert storage.create(uri, b"ours")
    assert [request.split(" ")[0] for request in seen.requests] == ["PUT", "PUT", "GET"]
    found = object_store.read_version(uri)
    assert found is not None
    seen.after = first(1, (503, b""), "PUT")
    assert object_store.replace(uri, b"ours again", found[1]) is not None
    assert storage.read_bytes(uri) == b"ours again"


def test_replace_only_what_has_not_changed(folder: str, seen: Watched) -> None:
    uri = storage.join(folder, "x")
    assert object_store.read_version(uri) is None
    storage.write_bytes(uri, b"one")
    found = object_store.read_version(uri)
    assert found is not None
    assert found[0] == b"one"
    version = object_store.replace(uri, b"two", found[1])
    assert version is not None
    assert object_store.replace(uri, b"three", found[1]) is None
    assert storage.read_bytes(uri) == b"two"
    storage.remove(uri)
    assert object_store.replace(uri, b"three", version) is None
    assert not storage.exists(uri)


def test_stamps_are_the_same_however_a_file_is_asked_for(folder: str, seen: Watched, tmp_path: Path) -> None:
    uri = storage.join(folder, "x")
    with pytest.raises(FileNotFoundError):
        storage.stamp_of(uri, str(tmp_path))
    storage.write_bytes(uri, b"one")
    [entry] = storage.listing(folder)
    looked = storage.stat(uri)
    assert looked is not None
    copy = storage.fetch(uri, str(tmp_path))
    assert entry.stamp == looked.stamp == storage.stamp_of(uri, str(tmp_path)) != ""
    storage.write_bytes(uri, b"two")
    again = storage.stat(uri)
    assert again is not None
    assert again.stamp != entry.stamp == storage.stamp_of(uri, str(tmp_path))
    assert Path(copy).read_bytes() == b"one"


def test_a_body_that_ends_early_is_an_error_and_no_file(
    folder: str, impatient: None, seen: Watched, tmp_path: Path
) -> None:
    uri = storage.join(folder, "x")
    storage.write_bytes(uri, bytes(1000))
    seen.short = 400
    for read in (lambda: storage.read_bytes(uri), lambda: storage.fetch(uri, str(tmp_path))):
        with pytest.raises(OSError, match="x"):
            read()
    assert list(tmp_path.iterdir()) == []
    seen.short = 0
    assert Path(storage.fetch(uri, str(tmp_path))).read_bytes() == bytes(1000)


def test_a_store_that_fails_for_a_moment_is_asked_again(folder: str, impatient: None, seen: Watched) -> None:
    uri = storage.join(folder, "x")
    for kind, call in (
        ("PUT", lambda: storage.write_bytes(uri, b"abc")),
        ("HEAD", lambda: storage.exists(uri)),
        ("GET", lambda: storage.read_bytes(uri)),
        ("GET", lambda: storage.listing(folder)),
    ):
        seen.before = first(2, (503, b""), kind)
        call()
    assert storage.read_bytes(uri) == b"abc"


def test_a_store_that_fails_for_good_is_an_error(folder: str, impatient: None, seen: Watched) -> None:
    seen.before = lambda _: (503, b"")
    calls = (storage.exists, storage.read_bytes, storage.listing, storage.remove, lambda uri: storage.create(uri, b""))
    for call in calls:
        with pytest.raises(OSError, match="503"):
            call(storage.join(folder, "x"))


def test_keys_that_are_no_paths_are_listed_with_their_fault(folder: str, seen: Watched) -> None:
    for name in ("a/b.mp4", "a//b.mp4", "a/../c.mp4", "./d.mp4", "e.mp4"):
        stored(f"{folder}/{name}")
    found = {entry.path: entry.fault for entry in storage.listing(folder, recursive=True)}
    empty = "the key has an empty folder name (//); rename the object"
    dots = "the key has a folder named . or ..; rename the object"
    assert found == {"a/b.mp4": "", "a//b.mp4": empty, "a/../c.mp4": dots, "./d.mp4": dots, "e.mp4": ""}
    good = {e.path: e.stamp for e in storage.listing(folder, recursive=True) if not e.fault}
    looked = {name: storage.stat(f"{folder}/{name}") for name in good}
    assert good == {name: entry.stamp for name, entry in looked.items() if entry is not None}
    assert [entry.path for entry in storage.listing(folder)] == ["e.mp4"]
    for read in (storage.exists, storage.read_bytes, storage.stat):
        with pytest.raises(OSError, match=r"empty folder name \(//\)"):
            read(f"{folder}/a//b.mp4")


def test_markers_of_folders_are_no_files(folder: str, seen: Watched) -> None:
    for name in ("", "full/", "full/x", "empty/"):
        stored(f"{folder}/{name}", b"")
    assert [entry.path for entry in storage.listing(folder, recursive=True)] == ["full/x"]
    assert storage.listing(folder) == []
    assert storage.listing(storage.join(folder, "empty"), recursive=True) == []


def test_a_bucket_that_is_not_there_is_an_empty_folder_to_readers_and_an_error_to_writers(seen: Watched) -> None:
    assert storage.listing("s3://nobody/x") == storage.listing("s3://nobody/x", recursive=True) == []
    assert not storage.exists("s3://nobody/x")
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        storage.write_bytes("s3://nobody/x", b"")


def test_random_reads_are_of_one_state_of_the_object(folder: str, seen: Watched) -> None:
    uri, start = storage.join(folder, "x"), END + 100
    storage.write_bytes(uri, bytes(start) + bytes(range(100)))
    size = start + 100
    with storage.open_random(uri) as file:
        ends = file.read_at(3, start + 10), file.read_at(10, size - 5), file.read_at(1, size), file.read_at(2, 10)
        assert ends == (bytes([10, 11, 12]), bytes(range(95, 100)), b"", bytes(2))
        assert (file.seek(-2, 2), file.read(), file.tell()) == (size - 2, b"bc", size)
        file.seek(size - END - 1)
        assert file.read_buffer(END) == bytes(END - 99) + bytes(range(99))
        storage.write_bytes(uri, bytes(size))
        assert file.read_at(3, start + 10) == bytes([10, 11, 12])  # came with the first request
        with pytest.raises(OSError, match="replaced while it was read"):
            file.read_at(3, 10)
    with pytest.raises(FileNotFoundError):
        storage.open_random(uri + "2")


def test_a_small_object_is_opened_and_read_by_one_request(folder: str, seen: Watched) -> None:
    for data in (b"abc", b""):
        storage.write_bytes(storage.join(folder, "small"), data)
        seen.requests.clear()
        with storage.open_random(storage.join(folder, "small")) as file:
            assert (file.size(), file.read()) == (len(data), data)
        assert len(seen.requests) == (1 if data else 2)
