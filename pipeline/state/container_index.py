"""From containers to sources: each container is indexed once, by a worker, into a file under the root.

The index is named by the uri and the stamp of its container: one that is written again is indexed again. The driver
reads indexes only.
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
from manifests.retries import StoreAway
from manifests.schema import from_rows, record_schema
from manifests.sources import source_id
from pipeline.engine.actor_pool import Lane, LanePlan
from pipeline.engine.cluster import say_on_stderr
from pipeline.sources.containers import listing
from pipeline.sources.containers.grouping import MemberSource
from pipeline.sources.containers.long_meta import ROW_GROUP, short
from pipeline.sources.containers.members import STREAMS, TABLES, is_container, member_stamp, parted

FOLDER = "containers"  # below the folder of the sources
A_TASK = 8  # containers that a worker indexes before it asks for more
AGAIN = "cannot be read: "  # how the fault of a container begins that the next run looks at again
SCHEMA = pa.schema(list(record_schema(MemberSource)))

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


@dataclass(frozen=True)
class Container:
    """A container as it was found. column: of a table, that holds the media; "" where that is to be found out.

    removed: names of members of which the index tells nothing but their bytes.
    """

    uri: str
    bytes: int
    stamp: str
    column: str = ""
    removed: tuple[str, ...] = ()

    @property
    def index(self) -> str:
        """The name of its index."""
        return f"{digest(self.uri)}-{digest([self.bytes, self.stamp, self.column])}.parquet"


TODO = record_schema(Container)


def expand_containers(
    found: Sequence[Source], folder: str, run: Run, column: str = "", removed: Iterable[str] = ()
) -> list[Source]:
    """The sources, with those that lie in containers in the place of the containers, in their order, each uri once.

    folder: uri of the folder of the sources. run: brings lanes to work, for containers that have no index.
    removed: uris of sources that were removed from the root.
    """
    containers = _containers(found, column, removed)
    if not containers:
        return list(found)
    folder = storage.join(folder, FOLDER)
    _index(list(containers.values()), folder, run)
    sources: dict[str, Source] = {}
    for source in found:
        held = containers.get(_container(source) or "")
        for each in [source] if held is None else _members(source, held, folder):
            # what a list says of a member counts, whoever names its container as well
            if each.uri not in sources or (source.meta, source.spans) != ("{}", ()):
                sources[each.uri] = each
    return list(sources.values())


def _container(source: Source) -> str | None:
    """The container that a source is, or lies in; None for a file."""
    if source.fault or not source.bytes:
        return None
    member = parted(source.uri)
    return member[0] if member else source.uri if is_container(source.uri) else None


def _containers(found: Sequence[Source], column: str, removed: Iterable[str]) -> dict[str, Container]:
    gone: dict[str, list[str]] = defaultdict(list)
    for member in filter(None, map(parted, removed)):
        gone[member[0]].append(member[1])
    named = ((_container(source), source) for source in found)
    return {
        uri: Container(
            uri, source.bytes, source.stamp, column if uri.lower().endswith(TABLES) else "", tuple(sorted(gone[uri]))
        )
        for uri, source in named
        if uri is not None
    }


def _index(containers: Sequence[Container], folder: str, run: Run) -> None:
    """Have workers index what has no index yet, and delete the indexes of what the containers were before."""
    there = {entry.path for entry in storage.listing(folder)}
    missing = [each for each in containers if each.index not in there]
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
    for name in [todo, *(name for name in there - kept if name.partition("-")[0] in known)]:
        storage.remove(storage.join(folder, name))


def _members(source: Source, container: Container, folder: str) -> Iterator[Source]:
    """The sources of one container; of a source that is a member, that one."""
    index = container.index
    uri = storage.join(folder, index)
    columns = pq.ParquetFile(pa.BufferReader(storage.read_bytes(uri))).read(use_threads=False).to_pydict()
    columns["meta"] = [short(meta, index, row) for row, meta in enumerate(columns["meta"])]
    rows = [MemberSource(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    member = parted(source.uri)
    if any(row.fault and row.fault.startswith(AGAIN) for row in rows):
        storage.remove(uri)
    if member is not None and not any(row.name == member[1] for row in rows):
        rows = [row for row in rows if not row.name] or [MemberSource(name=member[1], fault="no such member")]
        rows = [replace(row, name=member[1]) for row in rows]
    for row in rows:
        if member is None or row.name == member[1]:
            yield _source(source, container, row)


def _source(named: Source, container: Container, row: MemberSource) -> Source:
    def uri(name: str) -> str:
        return f"{container.uri}#{name}" if name else container.uri

    facts: dict[str, Any] = {
        "uri": uri(row.name),
        "bytes": row.bytes,
        "sidecars": tuple(map(uri, row.sidecars)),
        "fault": row.fault,
        "meta": _joined(row.meta, named.meta),
        "stamp": member_stamp(container.stamp, row.place),
        "companions": row.companions,
        "sha256": row.sha256,
        "spans": named.spans,
        "apart": uri(row.apart) if row.apart else "",
    }
    return Source(id=source_id(Source(id="", **facts)), **facts)  # `replace` takes six times as long


def _joined(member: str, listed: str) -> str:
    """Metadata of a member; a column of the list that named it stands above a key of its own."""
    if member == "{}" or listed == "{}":
        return listed if member == "{}" else member
    return json.dumps(json.loads(member) | json.loads(listed), sort_keys=True, ensure_ascii=False)


class IndexLane(Lane):
    """Indexes containers by the number of their chunk."""

    def __init__(self, folder: str, todo: str) -> None:
        """folder: of the indexes. todo: name of the file there that lists the containers."""
        self.folder, self.todo = folder, todo

    def __call__(self, number: int) -> None:
        """Index one chunk of containers; one that has an index is passed over."""
        table = read_parquet(storage.join(self.folder, self.todo)).slice(number * A_TASK, A_TASK)
        for container in from_rows(Container, table.to_pylist()):
            uri = storage.join(self.folder, container.index)
            if not storage.exists(uri):
                storage.write_bytes(uri, parquet_bytes(_table(list(_rows(container))), ROW_GROUP))


def _table(rows: Sequence[MemberSource]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(MemberSource)
    }
    return pa.table(columns, schema=SCHEMA)


def _rows(container: Container) -> Iterator[MemberSource]:
    """The index of a container. What cannot be read is a row; what was read before that stays."""
    try:
        for row in listing.rows(container.uri, container.bytes, container.column):
            is_removed = row.name in container.removed
            yield replace(row, meta="{}", sidecars=(), companions="", apart="") if is_removed else row
        now = storage.look(container.uri)
        if now is None or now.stamp != container.stamp:
            yield MemberSource(name="", fault=f"{AGAIN}it was replaced while it was read: run again")
    except StoreAway:
        raise
    except OSError as error:
        yield MemberSource(name="", fault=f"{AGAIN}{one_line(error)}")
