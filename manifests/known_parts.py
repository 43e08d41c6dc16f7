"""A cache of part files in object stores: the facts of their footers, and the files last written or read.

Entries are keyed by URI and ETag, so an entry is valid while a listing shows that ETag. The cache is in memory; a run
also writes the facts to `<NN-step>-<key>/facts.json` at its end, for other processes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import object_store, storage
from manifests.counts import Counts
from manifests.parquet_files import PartFacts, raise_damaged

NAME = "facts.json"  # maps the name of each part file to its ETag and the facts in its footer
CACHE_BYTES = 64 << 20  # bytes of part files in memory: pack reads files again that this process has just written

_known: dict[tuple[str, str], PartFacts] = {}  # by URI and ETag
_held: dict[tuple[str, str], bytes] = {}  # by URI and ETag, the oldest first
_lock = threading.Lock()
_read: set[str] = set()  # URIs of the `facts.json` files that were read


def forget() -> None:
    """Clear the cache."""
    _known.clear()
    _held.clear()
    _read.clear()


def remember_facts(uri: str, stamp: str, facts: PartFacts) -> None:
    """Cache the facts of a part file. stamp: its ETag; facts without an ETag are not cached."""
    if stamp and object_store.holds(uri):
        _known[uri, stamp] = facts


def remember_bytes(uri: str, stamp: str, data: bytes) -> None:
    """Cache the bytes of a part file that has an ETag; the oldest entries are evicted above the limit CACHE_BYTES."""
    if not stamp:
        return
    with _lock:
        _held[uri, stamp] = data
        total = sum(map(len, _held.values()))
        while total > CACHE_BYTES:
            total -= len(_held.pop(next(iter(_held))))


def read_bytes(uri: str, stamp: str) -> bytes:
    """Return a part file's bytes, from the cache if they are there. Raises OSError."""
    data = _held.get((uri, stamp))
    return storage.read_bytes(uri) if data is None else data


def read_rows(uri: str, stamp: str) -> pa.Table | None:
    """Read a part file from the cache or by one request. Return None if the file was deleted or replaced.

    Raises Damaged.
    """
    data = _held.get((uri, stamp))
    if data is None:
        found = object_store.read_version(uri)
        if found is None or found[1].get("e_tag") != stamp:
            return None
        data = found[0]
        remember_bytes(uri, stamp, data)
    with raise_damaged(uri):
        return pq.read_table(pa.BufferReader(data))


def known_facts(folder: str, stamps: Mapping[str, str]) -> dict[str, PartFacts]:
    """Return the cached facts by file name. stamps: ETags by file name, from a listing.

    Makes at most one request, for the folder's `facts.json`.
    """
    if not object_store.holds(folder):
        return {}
    uri = storage.join(folder, NAME)
    if uri not in _read and any((storage.join(folder, name), stamp) not in _known for name, stamp in stamps.items()):
        for name, (stamp, facts) in _parse_summary(_read_summary(uri)).items():
            _known.setdefault((storage.join(folder, name), stamp), facts)
        _read.add(uri)
    found = {name: _known.get((storage.join(folder, name), stamp)) for name, stamp in stamps.items()}
    return {name: facts for name, facts in found.items() if facts is not None}


def write_summary(folder: str, stamps: Mapping[str, str]) -> None:
    """Write the folder's `facts.json`, unless it is up to date. stamps: ETags of its part files, by name."""
    uri, facts = storage.join(folder, NAME), known_facts(folder, stamps)
    summary = {name: [stamps[name], _decode_metadata(each)] for name, each in sorted(facts.items())}
    if object_store.holds(folder) and summary != _read_summary(uri):
        storage.write_bytes(uri, json.dumps(summary).encode())


def _read_summary(uri: str) -> dict[str, Any]:
    """Return the content of `facts.json`; {} if it is missing or invalid: footers are read then."""
    with suppress(FileNotFoundError, ValueError, RecursionError):
        stored = json.loads(storage.read_bytes(uri))
        return stored if isinstance(stored, dict) else {}
    return {}


def _parse_summary(stored: Mapping[str, Any]) -> dict[str, tuple[str, PartFacts]]:
    """Return ETag and facts by file name, without invalid entries: the footers of those files are read."""
    found = {}
    for name, entry in stored.items():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            stamp, metadata = entry
            facts = PartFacts.from_metadata({key.encode(): value.encode() for key, value in metadata.items()})
            if isinstance(stamp, str) and _is_sound(facts.counts):
                found[name] = stamp, facts
    return found


def _is_sound(counts: Counts) -> bool:
    numbers = [counts.inputs, counts.ok, counts.dropped, counts.failed, counts.outputs, *counts.reasons.values()]
    are_numbers = all(type(number) is int and number >= 0 for number in numbers)
    return are_numbers and type(counts.seconds) in (int, float) and counts.inputs == sum(numbers[1:4])


def _decode_metadata(facts: PartFacts) -> dict[str, str]:
    return {name.decode(): value for name, value in facts.metadata.items()}
