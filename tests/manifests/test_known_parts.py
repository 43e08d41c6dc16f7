"""The cache of part files in object stores: `facts.json` saves requests and never changes a result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from manifests import known_parts, storage
from manifests.ledger import Manifest
from manifests.records import Outcome, Source
from tests.object_store import Watched, forget, watched

BAD: list[Any] = [
    None,
    "text",
    [],
    ["one"],
    ["a", "b", "c"],
    ["a", None],
    ["a", {}],
    ["a", {"ola.counts": 1}],
    ["a", {"ola.counts": "no JSON"}],
    ["a", {"ola.counts": "[1]"}],
    ["a", {"ola.counts": '{"inputs": "1", "ok": "1"}'}],
    ["a", {"ola.counts": '{"inputs": 7, "ok": 1}'}],
    ["a", {"ola.counts": '{"inputs": -1, "ok": -1}'}],
    ["a", {"ola.counts": '{"inputs": 1, "ok": 1, "seconds": null}'}],
    ["a", {"ola.counts": '{"inputs": 1, "ok": 1, "reasons": [1]}'}],
    ["a", {"ola.counts": '{"unknown": 1}'}],
    ["another", {"ola.counts": '{"inputs": 7, "ok": 7}'}],
    [["a"], {"ola.counts": '{"inputs": 1, "ok": 1}'}],
]


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Watched]]:
    """A bucket, and what notes the requests to its store."""
    with watched("known-parts") as found:
        yield found


def made(root: str) -> Manifest:
    manifest = Manifest(root, 3, "toy", "abc", Source)
    for part in (0, 1):
        commit(manifest, part)
    return manifest


def commit(manifest: Manifest, part: int, many: int = 1) -> None:
    names = [f"{part}-{n}" for n in range(many)]
    made = [Outcome(name, "ok", 0.25, (Source(id=name, uri=name, bytes=1),)) for name in names]
    assert manifest.commit(part, names, made)


def test_a_summary_saves_the_footers(store: tuple[str, Watched]) -> None:
    uri, app = store
    manifest = made(f"{uri}/saves")
    counts = manifest.part_counts()
    manifest.write_facts()
    forget()
    app.requests.clear()
    assert manifest.part_counts() == counts
    assert len(app.requests) == 2  # a listing and the summary


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_an_entry_that_makes_no_sense_is_not_believed(store: tuple[str, Watched], bad: Any) -> None:
    manifest = made(f"{store[0]}/bad")
    counts = manifest.part_counts()
    manifest.write_facts()
    summary = storage.join(manifest.folder_uri, known_parts.NAME)
    stored = json.loads(storage.read_bytes(summary))
    stamp = stored["part-000000.parquet"][0]
    own = [stamp, *bad[1:]] if isinstance(bad, list) and bad[:1] == ["a"] else bad
    storage.write_bytes(summary, json.dumps(stored | {"part-000000.parquet": own}).encode())
    forget()
    assert manifest.part_counts() == counts
    manifest.write_facts()
    assert json.loads(storage.read_bytes(summary)) == stored
    storage.remove_folder(manifest.folder_uri)


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"[" * 100_000, b'{"part-000000.parquet"'])
def test_a_summary_that_makes_no_sense_is_not_believed(store: tuple[str, Watched], data: bytes) -> None:
    manifest = made(f"{store[0]}/none")
    counts = manifest.part_counts()
    storage.write_bytes(storage.join(manifest.folder_uri, known_parts.NAME), data)
    forget()
    assert manifest.part_counts() == counts
    storage.remove_folder(manifest.folder_uri)


def test_a_part_that_was_written_again_is_read_again(store: tuple[str, Watched]) -> None:
    manifest = made(f"{store[0]}/again")
    manifest.write_facts()
    files = manifest.listed()
    manifest.remove(1)
    forget()  # another process writes it again
    commit(manifest, 1, 3)
    forget()
    assert [manifest.part_counts()[part].ok for part in (0, 1)] == [1, 3]  # type: ignore[union-attr]
    assert [manifest.read_listed(part, files).num_rows for part in (0, 1)] == [1, 3]
