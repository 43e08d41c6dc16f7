"""Block files: the rows of 64 neighbouring parts of a step in one Parquet file.

`<NN-step>-<key>/parts-000000-000063.parquet` stands for all its parts as long as it exists: part files beside it are
not read. So compaction writes the block file and then deletes the part files, and `remove_part` writes part files again
and then deletes the block file. A kill in between leaves only part files that nobody reads.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.counts import Counts
from manifests.parquet_files import PartFacts, damage_named, parquet_bytes

BLOCK = 64  # parts; belongs to the format, since the name of a part's block file follows from it
GROUP_ROWS = 8192  # a row group ends with the part that reaches so many rows: a part is read with few others
FOOTER = b"ola.block"  # what a block file says of each of its parts
PART = re.compile(r"part-(\d{6,})\.parquet")
JOURNAL = re.compile(r"part-(\d{6,})\.journal")
FILE = re.compile(r"parts-(\d{6,})-(\d{6,})\.parquet")
PATTERN, BLOCK_PATTERN = "part*.parquet", "parts-*.parquet"  # part files and block files; block files alone
AT_ONCE = 8  # requests: files are small, and the wait is for the store
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PartFiles:
    """The files with rows in a step's folder: sizes of block files by number, and of all part files by part."""

    blocks: Mapping[int, int]
    parts: Mapping[int, int]
    stamps: Mapping[str, str] = field(default_factory=dict)  # of the part files, by name
    journals: Set[int] = frozenset()  # parts with a journal

    def committed(self) -> dict[int, int]:
        """Return sizes by committed part; for a part in a block file its share of that file."""
        shares = {part: size // BLOCK for number, size in self.blocks.items() for part in parts_of(number)}
        return dict(sorted({**self.parts, **shares}.items()))

    def loose(self) -> dict[str, str]:
        """Return the stamps, by name, of the part files that no block file stands for."""
        names = [part_name(part) for part in self.parts if part // BLOCK not in self.blocks]
        return {name: self.stamps[name] for name in names}

    def names(self) -> list[str]:
        """Return the names of the files that hold the committed rows, in the order of parts."""
        single = {part: part_name(part) for part in self.parts if part // BLOCK not in self.blocks}
        named = single | {number * BLOCK: block_name(number) for number in self.blocks}
        return [name for _, name in sorted(named.items())]

    def whole(self) -> list[int]:
        """Return the numbers of blocks that have all their part files and no block file yet."""
        found = {part // BLOCK for part in self.parts} - self.blocks.keys()
        return sorted(number for number in found if all(part in self.parts for part in parts_of(number)))

    def leftovers(self) -> list[str]:
        """Return the names of part files that nobody reads, since a block file has their rows."""
        return [part_name(part) for part in self.parts if part // BLOCK in self.blocks]


def part_files(folder: str) -> PartFiles:
    """Find the files with rows in a step's folder, by one listing."""
    entries = storage.listing(folder)
    names = {entry.path: entry.size for entry in entries}
    parts = {int(match[1]): size for name, size in names.items() if (match := PART.fullmatch(name))}
    starts = {int(match[1]): name for name in names if (match := FILE.fullmatch(name))}
    blocks = {n // BLOCK: names[name] for n, name in starts.items() if name == block_name(n // BLOCK)}
    journals = {int(match[1]) for name in names if (match := JOURNAL.fullmatch(name))}
    stamps = {entry.path: entry.stamp for entry in entries if PART.fullmatch(entry.path)}
    return PartFiles(blocks, parts, stamps, journals)


def parts_of(number: int) -> range:
    """Return the parts of a block."""
    return range(number * BLOCK, (number + 1) * BLOCK)


def part_name(part: int, suffix: str = "parquet") -> str:
    """Return the name of a part's file."""
    return f"part-{part:06d}.{suffix}"


def block_name(number: int) -> str:
    """Return the name of a block's file."""
    parts = parts_of(number)
    return f"parts-{parts[0]:06d}-{parts[-1]:06d}.parquet"


def schema_text(schema: pa.Schema) -> str:
    """Encode a schema as text, for JSON."""
    return base64.b64encode(schema.remove_metadata().serialize()).decode()


@dataclass(frozen=True)
class StoredPart:
    """A part within a block file: its facts, its rows, and its own schema where that of the file has more columns."""

    facts: PartFacts
    first: int
    rows: int
    schema: str | None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> StoredPart:
        """Read the part's entry in the footer of a block file."""
        facts = PartFacts(Counts(**stored["counts"]), stored["digest"])
        return cls(facts, stored["first"], stored["rows"], stored["schema"])

    def to_json(self) -> dict[str, Any]:
        """Make the part's entry in the footer of a block file."""
        facts = {"counts": asdict(self.facts.counts), "digest": self.facts.digest}
        return {**facts, "first": self.first, "rows": self.rows, "schema": self.schema}

    def restored(self, table: pa.Table) -> pa.Table:
        """Return the part's rows as its part file had them."""
        if self.schema is not None:
            table = conformed(table, pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema))))
        return table.replace_schema_metadata(self.facts.metadata)


@dataclass(frozen=True)
class BlockFile:
    """The block file of this number in the folder of a step, whether it exists or not."""

    folder: str
    number: int

    @property
    def uri(self) -> str:
        """Full URI of the file."""
        return storage.join(self.folder, block_name(self.number))

    def part_uri(self, part: int) -> str:
        """Return the full URI of the file of one of its parts."""
        return storage.join(self.folder, part_name(part))

    def exists(self) -> bool:
        """Tell whether the file is there, and stands for all its parts."""
        return storage.exists(self.uri)

    def facts(self) -> dict[int, PartFacts]:
        """Read the facts of every part, from the footer. Raises FileNotFoundError or Damaged."""
        with self._opened() as file:
            return {part: stored.facts for part, stored in self._stored(file).items()}

    def read(self, part: int) -> pa.Table:
        """Read all rows of a part. Raises FileNotFoundError or Damaged."""
        with self._opened() as file:
            [(_, table)] = _tables(file, {part: self._stored(file)[part]})
            return table

    def read_all(self) -> Iterator[tuple[int, pa.Table]]:
        """Read every part with its rows, in no order. Raises FileNotFoundError or Damaged."""
        with self._opened() as file:
            yield from _tables(file, self._stored(file))

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        with (
            damage_named(self.uri),
            storage.open_random(self.uri) as raw,
            pq.ParquetFile(raw, pre_buffer=True) as file,
        ):
            yield file

    def _stored(self, file: pq.ParquetFile) -> dict[int, StoredPart]:
        stored = json.loads(file.metadata.metadata[FOOTER])
        return {part: StoredPart.of(facts) for part, facts in zip(parts_of(self.number), stored, strict=True)}


def block_of(folder: str, part: int) -> BlockFile:
    """Return the block file that a part belongs to."""
    return BlockFile(folder, part // BLOCK)


def _tables(file: pq.ParquetFile, wanted: Mapping[int, StoredPart]) -> Iterator[tuple[int, pa.Table]]:
    """Read the wanted parts. A row group is read once, and only if it holds one of them."""
    empty = file.schema_arrow.empty_table()
    yield from ((part, stored.restored(empty)) for part, stored in wanted.items() if not stored.rows)
    end = 0
    for number in range(file.num_row_groups):
        start, end = end, end + file.metadata.row_group(number).num_rows
        held = {part: of for part, of in wanted.items() if of.rows and start <= of.first < end}
        group = file.read_row_group(number) if held else empty
        for part, stored in held.items():
            yield part, stored.restored(group.slice(stored.first - start, stored.rows))


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert rows to a schema, at every level: a column that they lack is null, one that it lacks is left out."""
    plain = table.replace_schema_metadata(None)
    return plain if plain.schema.equals(schema) else pa.Table.from_pylist(plain.to_pylist(), schema=schema)


def write_block(folder: str, schema: pa.Schema, number: int) -> None:
    """Write a block file from the files of its parts, unless there is one or a part was reopened meanwhile.

    schema: that of the manifest. Raises OSError where a part cannot be read, is damaged or is missing.
    """
    block = BlockFile(folder, number)
    if not block.exists():
        data = _block_bytes(block, schema)
        if all(each(storage.exists, map(block.part_uri, parts_of(number)))):
            storage.create(block.uri, data)


def remove_leftovers(folder: str, files: PartFiles) -> None:
    """Delete the part files that a listing found beside their block file.

    Only for the process that holds the root: a worker that was cut off may be late, and delete parts of a block that
    another run has reopened.
    """
    each(lambda name: storage.remove(storage.join(folder, name)), files.leftovers())


def _block_bytes(block: BlockFile, schema: pa.Schema) -> bytes:
    uris = [block.part_uri(part) for part in parts_of(block.number)]
    files = [_parsed(uri, data) for uri, data in zip(uris, each(storage.read_bytes, uris), strict=True)]
    schemas = [schema, *(file.schema_arrow.remove_metadata() for file in files)]
    writer = BlockWriter(pa.unify_schemas(schemas, promote_options="permissive"))
    for uri, file in zip(uris, files, strict=True):
        with damage_named(uri):
            writer.add(file.read(), PartFacts.of(file.metadata.metadata))
    return writer.close()


def _parsed(uri: str, data: bytes) -> pq.ParquetFile:
    with damage_named(uri):
        return pq.ParquetFile(pa.BufferReader(data))


class BlockWriter:
    """Writes the parts of a block, in order. A row group holds whole parts."""

    def __init__(self, schema: pa.Schema) -> None:
        """schema: has every column that a part has."""
        self.schema, self.sink = schema, pa.BufferOutputStream()
        self.writer = pq.ParquetWriter(self.sink, schema, compression="zstd")
        self.stored: list[StoredPart] = []
        self.waiting: list[pa.Table] = []
        self.rows = 0

    def add(self, table: pa.Table, facts: PartFacts) -> None:
        """Add the next part."""
        own = table.schema.remove_metadata()
        schema = None if own.equals(self.schema) else schema_text(own)
        self.stored.append(StoredPart(facts, self.rows, table.num_rows, schema))
        self.rows += table.num_rows
        self.waiting.append(conformed(table, self.schema))
        if sum(waiting.num_rows for waiting in self.waiting) >= GROUP_ROWS:
            self._end_group()

    def _end_group(self) -> None:
        group, self.waiting = pa.concat_tables(self.waiting), []
        if group.num_rows:
            self.writer.write_table(group, row_group_size=group.num_rows)

    def close(self) -> bytes:
        """End the file and return its bytes."""
        if self.waiting:
            self._end_group()
        self.writer.add_key_value_metadata({FOOTER: json.dumps([stored.to_json() for stored in self.stored])})
        self.writer.close()
        return bytes(self.sink.getvalue().to_pybytes())


def remove_part(folder: str, part: int) -> None:
    """Take back a part that is committed. Where a block file holds the part, its other parts get their own files.

    Raises Damaged where that block file cannot be read.
    """
    block = block_of(folder, part)
    is_compacted = block.exists()
    if is_compacted:
        others = ((other, table) for other, table in block.read_all() if other != part)
        each(lambda pair: storage.write_bytes(block.part_uri(pair[0]), parquet_bytes(pair[1])), others)
    storage.remove(block.part_uri(part))  # also one that a late worker wrote beside the block file
    if is_compacted:
        storage.remove(block.uri)


def each(call: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """Make the calls, several at once, and return their results. Raises what one raises, after all have ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(call, values))
