"""Expand containers (tar, zip, Parquet) into sources; a worker indexes each container once, in a file under the root.

The index is named after the container's uri and stamp, so a rewritten container is indexed again. The driver reads only
indexes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import digest, one_line, parquet_bytes, read_parquet
from manifests.records import Source
from manifests.retries import StoreUnreachable
from manifests.schema import from_rows, record_schema
from manifests.sources import source_id
from pipeline.engine.cluster import say_on_stderr
from pipeline.engine.lane_plan import Lane, LanePlan
from pipeline.sources.containers import listing
from pipeline.sources.containers.grouping import MemberSource
from pipeline.sources.containers.long_meta import ROW_GROUP, shorten
from pipeline.sources.containers.members import STREAMS, TABLES, is_container, member_stamp, split_uri

FOLDER = "containers"  # below the folder of the sources
A_TASK = 8  # containers per task of a worker
UNREADABLE = "cannot be read: "  # start of the fault of a container that the next run indexes again
SCHEMA = pa.schema(list(record_schema(MemberSource)))

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


@dataclass(frozen=True)
class Container:
    """A container that discovery found. column: a table's column with the media; "" to detect the column.

    removed: names of removed members; of these the index keeps only the size.
    """

    uri: str
    bytes: int
    stamp: str
    column: str = ""
    removed: tuple[str, ...] = ()

    @property
    def index(self) -> str:
        """Return the name of the index file."""
        return f"{digest(self.uri)}-{digest([self.bytes, self.stamp, self.column])}.parquet"


TODO = record_schema(Container)


def expand_containers(
    found: Sequence[Source], folder: str, run: Run, column: str = "", removed: Iterable[str] = ()
) -> list[Source]:
    """Replace each container by the sources in it, in order, each uri once.

    folder: uri of the folder of the sources. run: runs lanes on an engine, for containers without an index.
    removed: uris of sources that were removed from the root.
    """
    containers = _find_containers(found, column, removed)
    if not containers:
        return list(found)
    folder = storage.join(folder, FOLDER)
    _make_indexes(list(containers.values()), folder, run)
    sources: dict[str, Source] = {}
    for source in found:
        container = containers.get(_container_uri(source) or "")
        for each in [source] if container is None else _read_members(source, container, folder):
            # a member that a list names keeps the list's columns, even if its container is named as well
            if each.uri not in sources or (source.meta, source.spans) != ("{}", ()):
                sources[each.uri] = each
    return list(sources.values())


def _container_uri(source: Source) -> str | None:
    """Return the uri of the container that a source is, or is a member of; None for a plain file."""
    if source.fault or not source.bytes:
        return None
    member = split_uri(source.uri)
    return member[0] if member else source.uri if is_container(source.uri) else None


def _find_containers(found: Sequence[Source], column: str, removed: Iterable[str]) -> dict[str, Container]:
    deleted: dict[str, list[str]] = defaultdict(list)
    for member in filter(None, map(split_uri, removed)):
        deleted[member[0]].append(member[1])
    named = ((_container_uri(source), source) for source in found)
    return {
        uri: Container(
            uri, source.bytes, source.stamp, column if uri.lower().endswith(TABLES) else "", tuple(sorted(deleted[uri]))
        )
        for uri, source in named
        if uri is not None
    }


def _make_indexes(containers: Sequence[Container], folder: str, run: Run) -> None:
    """Have workers index containers without an index, and delete the indexes of replaced containers."""
    existing = {entry.path for entry in storage.listing(folder)}
    missing = [each for each in containers if each.index not in existing]
    if not missing:
        return
    if streams := [each.uri for each in missing if each.uri.lower().endswith(STREAMS)]:
        others = f" and {len(streams) - 1} more" if streams[1:] else ""
        say_on_stderr(f"{streams[0]}{others}: read from the beginning by each part; a tar or zip is read in place")
    todo = f"todo-{digest([asdict(each) for each in missing])}.parquet"
    table = pa.Table.from_pylist([asdict(each) for each in missing], schema=TODO)
    storage.write_bytes(storage.join(folder, todo), parquet_bytes(table))
    run([LanePlan(partial(IndexLane, folder, todo))], range(-(-len(missing) // A_TASK)))
    kept, known = {each.index for each in containers}, {each.index.partition("-")[0] for each in containers}
    for name in [todo, *(name for name in existing - kept if name.partition("-")[0] in known)]:
        storage.remove(storage.join(folder, name))


def _read_members(source: Source, container: Container, folder: str) -> Iterator[Source]:
    """Yield the sources of one container; for a source that is a member, only this member."""
    index = container.index
    uri = storage.join(folder, index)
    columns = pq.ParquetFile(pa.BufferReader(storage.read_bytes(uri))).read(use_threads=False).to_pydict()
    columns["meta"] = [shorten(meta, index, row) for row, meta in enumerate(columns["meta"])]
    rows = [MemberSource(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    member = split_uri(source.uri)
    if any(row.fault and row.fault.startswith(UNREADABLE) for row in rows):
        storage.remove(uri)
    if member is not None and not any(row.name == member[1] for row in rows):
        rows = [row for row in rows if not row.name] or [MemberSource(name=member[1], fault="no such member")]
        rows = [replace(row, name=member[1]) for row in rows]
    for row in rows:
        if member is None or row.name == member[1]:
            yield _make_source(source, container, row)


def _make_source(named: Source, container: Container, row: MemberSource) -> Source:
    def uri(name: str) -> str:
        return f"{container.uri}#{name}" if name else container.uri

    facts: dict[str, Any] = {
        "uri": uri(row.name),
        "bytes": row.bytes,
        "sidecars": tuple(map(uri, row.sidecars)),
        "fault": row.fault,
        "meta": _merge_meta(row.meta, named.meta),
        "stamp": member_stamp(container.stamp, row.place),
        "companions": row.companions,
        "sha256": row.sha256,
        "spans": named.spans,
        "apart": uri(row.apart) if row.apart else "",
    }
    return Source(id=source_id(Source(id="", **facts)), **facts)  # `replace` takes six times as long


def _merge_meta(member: str, listed: str) -> str:
    """Merge the metadata of a member with the columns of the list that names it; the list takes precedence."""
    if member == "{}" or listed == "{}":
        return listed if member == "{}" else member
    return json.dumps(json.loads(member) | json.loads(listed), sort_keys=True, ensure_ascii=False)


class IndexLane(Lane):
    """A lane whose numbers are chunks of containers to index."""

    def __init__(self, folder: str, todo: str) -> None:
        """folder: of the indexes. todo: name of the file in it that lists the containers."""
        self.folder, self.todo = folder, todo

    def __call__(self, number: int) -> None:
        """Index one chunk of containers; those that have an index are skipped."""
        table = read_parquet(storage.join(self.folder, self.todo)).slice(number * A_TASK, A_TASK)
        for container in from_rows(Container, table.to_pylist()):
            uri = storage.join(self.folder, container.index)
            if not storage.exists(uri):
                storage.write_bytes(uri, parquet_bytes(_make_table(list(_index_rows(container))), ROW_GROUP))


def _make_table(rows: Sequence[MemberSource]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(MemberSource)
    }
    return pa.table(columns, schema=SCHEMA)


def _index_rows(container: Container) -> Iterator[MemberSource]:
    """Yield the index rows of a container; if it cannot be read further, yield a row with the fault."""
    try:
        for row in listing.rows(container.uri, container.bytes, container.column):
            is_removed = row.name in container.removed
            yield replace(row, meta="{}", sidecars=(), companions="", apart="") if is_removed else row
        now = storage.stat(container.uri)
        if now is None or now.stamp != container.stamp:
            yield MemberSource(name="", fault=f"{UNREADABLE}it was replaced while it was read: run again")
    except StoreUnreachable:
        raise
    except OSError as error:
        yield MemberSource(name="", fault=f"{UNREADABLE}{one_line(error)}")
