"""Part files in object stores that need no request: what their footers say, and the last ones written or read.

A file is known by its name and ETag, so what is known stays true for as long as a listing shows that ETag. This process
keeps what it has written or read; `<NN-step>-<key>/facts.json`, which a run writes when it ends, tells other processes.
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
from manifests.parquet_files import PartFacts, damage_named

NAME = "facts.json"  # by the name of each part file: its ETag, and the facts in its footer
HELD = 64 << 20  # bytes of part files in memory: pack reads again what this process has just written

_known: dict[tuple[str, str], PartFacts] = {}  # by URI and ETag
_held: dict[tuple[str, str], bytes] = {}  # by URI and ETag, the oldest first
_lock = threading.Lock()
_read: set[str] = set()  # URIs of the summaries that were read


def forget() -> None:
    """Forget all that is known."""
    _known.clear()
    _held.clear()
    _read.clear()


def learn(uri: str, stamp: str, facts: PartFacts) -> None:
    """Keep what a part file says. stamp: its ETag; nothing is kept without one."""
    if stamp and object_store.holds(uri):
        _known[uri, stamp] = facts


def hold(uri: str, stamp: str, data: bytes) -> None:
    """Keep the bytes of a part file that has an ETag; the oldest are let go where there are too many."""
    if not stamp:
        return
    with _lock:
        _held[uri, stamp] = data
        total = sum(map(len, _held.values()))
        while total > HELD:
            total -= len(_held.pop(next(iter(_held))))


def rows(uri: str, stamp: str) -> pa.Table | None:
    """Read a part file that a listing showed, by one request or none. None where it is gone or another one by now.

    Raises Damaged.
    """
    data = _held.get((uri, stamp))
    if data is None:
        found = object_store.read_version(uri)
        if found is None or found[1].get("e_tag") != stamp:
            return None
        data = found[0]
        hold(uri, stamp, data)
    with damage_named(uri):
        return pq.read_table(pa.BufferReader(data))


def known(folder: str, stamps: Mapping[str, str]) -> dict[str, PartFacts]:
    """Return the facts of those part files that are known, by name. stamps: ETags by name, as a listing shows them.

    At most one request, for the summary of a folder.
    """
    if not object_store.holds(folder):
        return {}
    uri = storage.join(folder, NAME)
    if uri not in _read and any((storage.join(folder, name), stamp) not in _known for name, stamp in stamps.items()):
        for name, (stamp, facts) in _facts(_stored(uri)).items():
            _known.setdefault((storage.join(folder, name), stamp), facts)
        _read.add(uri)
    found = {name: _known.get((storage.join(folder, name), stamp)) for name, stamp in stamps.items()}
    return {name: facts for name, facts in found.items() if facts is not None}


def keep(folder: str, stamps: Mapping[str, str]) -> None:
    """Write the summary of a folder, unless it says this already. stamps: ETags of its part files, by name."""
    uri, facts = storage.join(folder, NAME), known(folder, stamps)
    summary = {name: [stamps[name], _decoded(each)] for name, each in sorted(facts.items())}
    if object_store.holds(folder) and summary != _stored(uri):
        storage.write_bytes(uri, json.dumps(summary).encode())


def _stored(uri: str) -> dict[str, Any]:
    """Return the summary, empty where there is none or it makes no sense: then footers are read."""
    with suppress(FileNotFoundError, ValueError, RecursionError):
        stored = json.loads(storage.read_bytes(uri))
        return stored if isinstance(stored, dict) else {}
    return {}


def _facts(stored: Mapping[str, Any]) -> dict[str, tuple[str, PartFacts]]:
    """Return ETag and facts by name, without the entries that make no sense: the footers of those files are read."""
    found = {}
    for name, entry in stored.items():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            stamp, metadata = entry
            facts = PartFacts.of({key.encode(): value.encode() for key, value in metadata.items()})
            if isinstance(stamp, str) and _is_sound(facts.counts):
                found[name] = stamp, facts
    return found


def _is_sound(counts: Counts) -> bool:
    numbers = [counts.inputs, counts.ok, counts.dropped, counts.failed, counts.outputs, *counts.reasons.values()]
    are_numbers = all(type(number) is int and number >= 0 for number in numbers)
    return are_numbers and type(counts.seconds) in (int, float) and counts.inputs == sum(numbers[1:4])


def _decoded(facts: PartFacts) -> dict[str, str]:
    return {name.decode(): value for name, value in facts.metadata.items()}
