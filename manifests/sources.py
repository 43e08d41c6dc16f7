"""The manifest of the sources: one Parquet file that holds all of them, each with its part and its place in the part.

A registration writes a new file with the next number, or nothing at all: there is no half of one. Readers take the
file with the highest number. Roots of earlier releases have a file for each part, which is read as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import PART, Counts, Damaged, Manifest, digest
from manifests.parquet_files import damage_named, read_undamaged
from manifests.records import ID_DIGITS, Source
from manifests.schema import from_rows, record_schema

FILE_NAME = "sources-{:06d}.parquet"
FILE = re.compile(r"sources-(\d{6,})\.parquet")
KEPT = 2  # files: who reads the last one but one while a new one is written can finish
ROW_GROUP = 8192  # rows: a worker that wants one part reads one or two groups of some 100 kB
AT_ONCE = 1024  # sources that are Python objects and Arrow rows at the same time
SCHEMA = pa.schema([pa.field("part", pa.int64()), pa.field("place", pa.int64()), *record_schema(Source)])


@dataclass(frozen=True, slots=True)
class Registered:
    """A source with the number of its part and its place within that part, both from 0."""

    source: Source
    part: int
    place: int


def source_id(source: Source) -> str:
    """Id of a source: a digest of all that its video follows from, so that a source that changed gets another id."""
    facts = (source.uri, source.bytes, source.stamp, source.sidecars, source.companions, source.fault, source.meta)
    described = [source.metadata, source.described] if source.metadata else []
    newer = ([asdict(span) for span in source.spans], source.apart, source.given)
    # ids of old ones stay
    return digest([*facts, source.twin, *described, *(each for each in newer if each)], ID_DIGITS)


@dataclass(frozen=True)
class SourceManifest(Manifest):
    """The sources of a run. Its parts are numbered without gaps."""

    @property
    def schema(self) -> pa.Schema:
        """Schema of its rows: no step made them, so they have no outcome."""
        return SCHEMA

    def files(self) -> dict[int, storage.Entry]:
        """The files that hold all sources, by their numbers: the last one counts."""
        found = {entry: FILE.fullmatch(entry.path) for entry in self._listing()}
        return dict(sorted((int(match.group(1)), entry) for entry, match in found.items() if match))

    def file_names(self) -> list[str]:
        """Return the names of the files that hold the sources: the newest one."""
        newest = self._newest()
        return [newest.path] if newest else super().file_names()

    def committed(self) -> dict[int, int]:
        """Numbers of the parts, with the number of their sources."""
        newest = self._newest()
        if newest is None:
            return {part: self._legacy(part).num_rows for part in self._legacy_parts()}
        with self._damage_named(newest):
            counts = pc.value_counts(self._file(newest).read(columns=["part"])["part"]).to_pylist()
        return {row["values"]: row["counts"] for row in counts}

    def has(self, part: int) -> bool:
        """Whether there is a part of this number."""
        return part in self.committed()

    def part_counts(self) -> dict[int, Counts | Damaged]:
        """Return the counts of every part: all sources are `ok`."""
        return {part: Counts(inputs=many, ok=many, outputs=many) for part, many in self.committed().items()}

    def more_counts(self, seen: Collection[int], limit: int | None = None) -> dict[int, Counts | Damaged]:
        """Return the counts of the parts that are not in `seen`, the first `limit`."""
        found = self.part_counts()
        return {part: found[part] for part in [part for part in sorted(found) if part not in seen][:limit]}

    def counts(self, part: int) -> Counts:
        """Counts of one part."""
        many = self.committed()[part]
        return Counts(inputs=many, ok=many, outputs=many)

    def read(self, part: int) -> pa.Table:
        """The sources of one part, in order. Raises KeyError if there is no such part."""
        newest = self._newest()
        if newest is None:
            return self._legacy(part)
        with self._damage_named(newest):
            file = self._file(newest)
            groups = [n for n in range(file.num_row_groups) if _holds(file.metadata.row_group(n), part)]
            table = file.read_row_groups(groups)
        table = table.filter(pc.equal(table["part"], part))
        if not len(table):
            raise KeyError(part)
        return table

    def has_unread(self) -> bool:
        """Whether there may be a source of which neither size nor digest is known."""
        newest = self._newest()
        if newest is None:
            return False
        with self._damage_named(newest):
            table = self._file(newest).read(columns=["bytes", "sha256", "fault"])
        unknown = pc.and_(pc.is_null(table["sha256"]), pc.is_null(table["fault"]))
        return bool(pc.any(pc.and_(unknown, pc.equal(table["bytes"], 0))).as_py())

    def registered(self) -> list[Registered]:
        """All sources, in the order of parts and places."""
        newest = self._newest()
        if newest is not None:
            with self._damage_named(newest):
                rows = self._file(newest).read().to_pylist()
        else:
            tables = {part: self._legacy(part).to_pylist() for part in self._legacy_parts()}
            rows = [{**row, "part": part, "place": n} for part, rows in tables.items() for n, row in enumerate(rows)]
        sources = from_rows(Source, rows)
        return [Registered(source, row["part"], row["place"]) for source, row in zip(sources, rows, strict=True)]

    @property
    def next(self) -> int:
        """Number of the file that comes next."""
        return max(self.files(), default=-1) + 1

    def write(self, number: int, registered: Iterable[Registered]) -> bool:
        """Write these as all sources there are, in the file of this number: `next`, as it was before they were read.

        False, and nothing is written, if another process wrote that file meanwhile.
        """
        ordered = sorted(registered, key=lambda each: (each.part, each.place))
        sink = io.BytesIO()  # grows by less than a buffer of Arrow's
        with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
            for start in range(0, len(ordered), ROW_GROUP):
                writer.write_table(_table(ordered[start : start + ROW_GROUP]), ROW_GROUP)
        if not storage.create(self._uri(FILE_NAME.format(number)), sink.getvalue()):
            return False
        for old in list(self.files())[:-KEPT]:
            storage.remove(self._uri(FILE_NAME.format(old)))
        return True

    def remove_older(self) -> None:
        """Delete every file below the folder but the newest file of sources: they name what was removed since."""
        newest = self._newest()
        for entry in storage.listing(self.folder_uri, recursive=True) if newest else ():
            if newest and entry.path != newest.path:
                storage.remove(self._uri(entry.path))

    def _listing(self) -> list[storage.Entry]:
        return storage.listing(self.folder_uri)

    def _newest(self) -> storage.Entry | None:
        return next(reversed(self.files().values()), None)

    def _uri(self, name: str) -> str:
        return storage.join(self.root, self.folder, name)

    def _damage_named(self, entry: storage.Entry) -> AbstractContextManager[None]:
        return damage_named(self._uri(entry.path))

    def _file(self, entry: storage.Entry) -> pq.ParquetFile:
        return _open(self._uri(entry.path), entry.stamp)

    def _legacy_parts(self) -> list[int]:
        return sorted(int(match.group(1)) for entry in self._listing() if (match := PART.fullmatch(entry.path)))

    def _legacy(self, part: int) -> pa.Table:
        return read_undamaged(self.uri(part))


def _table(registered: Sequence[Registered]) -> pa.Table:
    starts = range(0, len(registered), AT_ONCE)
    return pa.Table.from_batches([_batch(registered[start : start + AT_ONCE]) for start in starts], SCHEMA)


def _batch(registered: Sequence[Registered]) -> pa.RecordBatch:
    """Rows of some sources: those of all, as Python objects, would take more memory than the sources."""
    columns = {name: [getattr(each.source, name) for each in registered] for name in SCHEMA.names[2:]}
    columns["spans"] = [[asdict(span) for span in each.source.spans] for each in registered]
    columns |= {name: [getattr(each, name) for each in registered] for name in SCHEMA.names[:2]}
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


@lru_cache(maxsize=2)  # with its footer, which a worker needs for each of its parts
def _open(uri: str, stamp: str) -> pq.ParquetFile:
    return pq.ParquetFile(storage.open_random(uri))


def _holds(group: pq.RowGroupMetaData, part: int) -> bool:
    statistics = group.column(0).statistics
    return bool(statistics is None or statistics.min <= part <= statistics.max)
