"""The manifest of the sources: one Parquet file with all sources, each with its part and its place in the part.

A registration atomically writes a new file with the next number. Readers take the file with the highest number. Roots
of earlier releases have one file per part, which is read as well.
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
from manifests.parquet_files import raise_damaged, read_undamaged
from manifests.records import ID_DIGITS, Source
from manifests.schema import from_rows, record_schema

FILE_NAME = "sources-{:06d}.parquet"
FILE = re.compile(r"sources-(\d{6,})\.parquet")
FILES_KEPT = 2  # files that are kept, so that a reader of the previous file can finish
ROW_GROUP = 8192  # rows per group: a worker that reads one part reads one or two groups of some 100 kB
AT_ONCE = 1024  # sources per record batch, which are in memory as Python objects and as Arrow rows
SCHEMA = pa.schema([pa.field("part", pa.int64()), pa.field("place", pa.int64()), *record_schema(Source)])


@dataclass(frozen=True, slots=True)
class Registered:
    """A source with its part's number and its place in that part, both from 0."""

    source: Source
    part: int
    place: int


def source_id(source: Source) -> str:
    """Return a source's id: a digest of all facts that its video depends on, so that a changed source gets a new id."""
    facts = (source.uri, source.bytes, source.stamp, source.sidecars, source.companions, source.fault, source.meta)
    described = [source.metadata, source.described] if source.metadata else []
    newer = ([asdict(span) for span in source.spans], source.apart, source.given)
    # so the ids of older sources stay the same
    return digest([*facts, source.twin, *described, *(each for each in newer if each)], ID_DIGITS)


@dataclass(frozen=True)
class SourceManifest(Manifest):
    """The manifest of a run's sources. Parts are numbered without gaps."""

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the rows, without the columns of outcomes: no step made the sources."""
        return SCHEMA

    def files(self) -> dict[int, storage.Entry]:
        """Return the files of sources by number; the highest number is current."""
        found = {entry: FILE.fullmatch(entry.path) for entry in self._listing()}
        return dict(sorted((int(match.group(1)), entry) for entry, match in found.items() if match))

    def file_names(self) -> list[str]:
        """Return the name of the current file of sources, as a list."""
        newest = self._newest()
        return [newest.path] if newest else super().file_names()

    def committed(self) -> dict[int, int]:
        """Return the number of sources of each part."""
        newest = self._newest()
        if newest is None:
            return {part: self._read_legacy(part).num_rows for part in self._legacy_parts()}
        with self._named_damage(newest):
            counts = pc.value_counts(self._open_file(newest).read(columns=["part"])["part"]).to_pylist()
        return {row["values"]: row["counts"] for row in counts}

    def has(self, part: int) -> bool:
        """Return whether a part with this number exists."""
        return part in self.committed()

    def part_counts(self) -> dict[int, Counts | Damaged]:
        """Return the counts of every part; all sources count as `ok`."""
        return {part: Counts(inputs=many, ok=many, outputs=many) for part, many in self.committed().items()}

    def more_counts(self, known_parts: Collection[int], limit: int | None = None) -> dict[int, Counts | Damaged]:
        """Return the counts of the parts that are not in `known_parts`, at most `limit` parts."""
        found = self.part_counts()
        return {part: found[part] for part in [part for part in sorted(found) if part not in known_parts][:limit]}

    def counts(self, part: int) -> Counts:
        """Return the counts of one part."""
        many = self.committed()[part]
        return Counts(inputs=many, ok=many, outputs=many)

    def read(self, part: int) -> pa.Table:
        """Read the sources of one part, in order. Raises KeyError if the part does not exist."""
        newest = self._newest()
        if newest is None:
            return self._read_legacy(part)
        with self._named_damage(newest):
            file = self._open_file(newest)
            groups = [n for n in range(file.num_row_groups) if _has_part(file.metadata.row_group(n), part)]
            table = file.read_row_groups(groups)
        table = table.filter(pc.equal(table["part"], part))
        if not len(table):
            raise KeyError(part)
        return table

    def has_unread(self) -> bool:
        """Return whether there may be a source of unknown size and digest."""
        newest = self._newest()
        if newest is None:
            return False
        with self._named_damage(newest):
            table = self._open_file(newest).read(columns=["bytes", "sha256", "fault"])
        unknown = pc.and_(pc.is_null(table["sha256"]), pc.is_null(table["fault"]))
        return bool(pc.any(pc.and_(unknown, pc.equal(table["bytes"], 0))).as_py())

    def registered(self) -> list[Registered]:
        """Return all sources, in the order of parts and places."""
        newest = self._newest()
        if newest is not None:
            with self._named_damage(newest):
                rows = self._open_file(newest).read().to_pylist()
        else:
            tables = {part: self._read_legacy(part).to_pylist() for part in self._legacy_parts()}
            rows = [{**row, "part": part, "place": n} for part, rows in tables.items() for n, row in enumerate(rows)]
        sources = from_rows(Source, rows)
        return [Registered(source, row["part"], row["place"]) for source, row in zip(sources, rows, strict=True)]

    @property
    def next(self) -> int:
        """Return the number of the next file."""
        return max(self.files(), default=-1) + 1

    def write(self, number: int, registered: Iterable[Registered]) -> bool:
        """Write all sources of the run to a new file. number: `next`, read before the sources were read.

        Returns False, and writes nothing, if another process has written that file meanwhile.
        """
        ordered = sorted(registered, key=lambda each: (each.part, each.place))
        sink = io.BytesIO()  # takes less memory while growing than Arrow's buffer
        with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
            for start in range(0, len(ordered), ROW_GROUP):
                writer.write_table(_make_table(ordered[start : start + ROW_GROUP]), ROW_GROUP)
        if not storage.create(self._uri(FILE_NAME.format(number)), sink.getvalue()):
            return False
        for old in list(self.files())[:-FILES_KEPT]:
            storage.remove(self._uri(FILE_NAME.format(old)))
        return True

    def remove_older(self) -> None:
        """Delete all files below the folder except the current one: older files still name removed sources."""
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

    def _named_damage(self, entry: storage.Entry) -> AbstractContextManager[None]:
        return raise_damaged(self._uri(entry.path))

    def _open_file(self, entry: storage.Entry) -> pq.ParquetFile:
        return _open(self._uri(entry.path), entry.stamp)

    def _legacy_parts(self) -> list[int]:
        return sorted(int(match.group(1)) for entry in self._listing() if (match := PART.fullmatch(entry.path)))

    def _read_legacy(self, part: int) -> pa.Table:
        return read_undamaged(self.uri(part))


def _make_table(registered: Sequence[Registered]) -> pa.Table:
    starts = range(0, len(registered), AT_ONCE)
    return pa.Table.from_batches([_make_batch(registered[start : start + AT_ONCE]) for start in starts], SCHEMA)


def _make_batch(registered: Sequence[Registered]) -> pa.RecordBatch:
    """Convert some sources to a record batch: the rows of all sources at once would take too much memory."""
    columns = {name: [getattr(each.source, name) for each in registered] for name in SCHEMA.names[2:]}
    columns["spans"] = [[asdict(span) for span in each.source.spans] for each in registered]
    columns |= {name: [getattr(each, name) for each in registered] for name in SCHEMA.names[:2]}
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


@lru_cache(maxsize=2)  # with its footer, which a worker reads for each of its parts
def _open(uri: str, stamp: str) -> pq.ParquetFile:
    return pq.ParquetFile(storage.open_random(uri))


def _has_part(group: pq.RowGroupMetaData, part: int) -> bool:
    statistics = group.column(0).statistics
    return bool(statistics is None or statistics.min <= part <= statistics.max)
