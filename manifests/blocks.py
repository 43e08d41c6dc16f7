"""Block files: the rows of 64 consecutive parts of a step in one Parquet file.

While `<NN-step>-<key>/parts-000000-000063.parquet` exists, readers ignore the part files of its parts. Compaction
therefore writes the block file first and then deletes the part files; `remove_part` writes the part files first and
then deletes the block file. A kill in between leaves only part files that no reader uses.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import known_parts, object_store, storage
from manifests.counts import Counts
from manifests.parquet_files import PartFacts, parquet_bytes, raise_damaged

BLOCK = 64  # parts; fixed by the format: the name of a part's block file follows from it
GROUP_ROWS = 8192  # a row group ends with the part that reaches this many rows, so that few others are read with it
FOOTER = b"ola.block"  # metadata key of the facts about each part of the block
PART = re.compile(r"part-(\d{6,})\.parquet")
JOURNAL = re.compile(r"part-(\d{6,})\.journal")
FILE = re.compile(r"parts-(\d{6,})-(\d{6,})\.parquet")
PATTERN, BLOCK_PATTERN = "part*.parquet", "parts-*.parquet"  # part files and block files; block files alone
AT_ONCE = 8  # concurrent requests: the files are small, and the latency is the store's
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PartFiles:
    """The Parquet files in a step's folder: sizes of block files by block number, and of part files by part."""

    blocks: Mapping[int, int]
    parts: Mapping[int, int]
    stamps: Mapping[str, str] = field(default_factory=dict)  # of all files of the folder, by name
    journals: Set[int] = frozenset()  # parts with a journal

    def committed(self) -> dict[int, int]:
        """Return the size of each committed part; for a part in a block file, an equal share of that file."""
        shares = {part: size // BLOCK for number, size in self.blocks.items() for part in parts_of(number)}
        return dict(sorted({**self.parts, **shares}.items()))

    def uncompacted(self) -> dict[str, str]:
        """Return the stamps, by name, of the part files that are not in a block file."""
        names = [part_name(part) for part in self.parts if part // BLOCK not in self.blocks]
        return {name: self.stamps[name] for name in names}

    def names(self) -> list[str]:
        """Return the names of the files that hold the committed rows, in the order of parts."""
        single = {part: part_name(part) for part in self.parts if part // BLOCK not in self.blocks}
        named = single | {number * BLOCK: block_name(number) for number in self.blocks}
        return [name for _, name in sorted(named.items())]

    def complete_blocks(self) -> list[int]:
        """Return the numbers of the blocks that have all part files but no block file yet."""
        found = {part // BLOCK for part in self.parts} - self.blocks.keys()
        return sorted(number for number in found if all(part in self.parts for part in parts_of(number)))

    def superseded(self) -> list[str]:
        """Return the names of the part files whose rows are also in a block file."""
        return [part_name(part) for part in self.parts if part // BLOCK in self.blocks]


def part_files(folder: str) -> PartFiles:
    """List the Parquet files in a step's folder, by one request."""
    entries = storage.listing(folder)
    names = {entry.path: entry.size for entry in entries}
    parts = {int(match[1]): size for name, size in names.items() if (match := PART.fullmatch(name))}
    starts = {int(match[1]): name for name in names if (match := FILE.fullmatch(name))}
    blocks = {n // BLOCK: names[name] for n, name in starts.items() if name == block_name(n // BLOCK)}
    journals = {int(match[1]) for name in names if (match := JOURNAL.fullmatch(name))}
    stamps = {entry.path: entry.stamp for entry in entries}
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
    """A part in a block file: its facts, its rows, and its own schema if the file's schema has more columns."""

    facts: PartFacts
    first: int
    rows: int
    schema: str | None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StoredPart:
        """Parse the part's entry in the footer of a block file."""
        facts = PartFacts(Counts(**stored["counts"]), stored["digest"])
        return cls(facts, stored["first"], stored["rows"], stored["schema"])

    def to_json(self) -> dict[str, Any]:
        """Return the part's entry for the footer of a block file."""
        facts = {"counts": asdict(self.facts.counts), "digest": self.facts.digest}
        return {**facts, "first": self.first, "rows": self.rows, "schema": self.schema}

    def restore(self, table: pa.Table) -> pa.Table:
        """Return the part's rows with the schema and metadata of its part file."""
        if self.schema is not None:
            table = conform_table(table, pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema))))
        return table.replace_schema_metadata(self.facts.metadata)


@dataclass(frozen=True)
class BlockFile:
    """A block file in a step's folder; the file may not exist."""

    folder: str
    number: int

    @property
    def uri(self) -> str:
        """Return the full URI of the file."""
        return storage.join(self.folder, block_name(self.number))

    def part_uri(self, part: int) -> str:
        """Return the full URI of the file of one of its parts."""
        return storage.join(self.folder, part_name(part))

    def exists(self) -> bool:
        """Return whether the file exists."""
        return storage.exists(self.uri)

    def facts(self) -> dict[int, PartFacts]:
        """Read the facts of every part from the footer. Raises FileNotFoundError or Damaged."""
        with self._open_parquet() as file:
            return {part: stored.facts for part, stored in self.stored_parts(file).items()}

    def read(self, part: int) -> pa.Table:
        """Read all rows of a part. Raises FileNotFoundError or Damaged."""
        with self._open_parquet() as file:
            [(_, table)] = _read_tables(file, {part: self.stored_parts(file)[part]})
            return table

    def read_all(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield every part with its rows, in no order. Raises FileNotFoundError or Damaged."""
        with self._open_parquet() as file:
            yield from _read_tables(file, self.stored_parts(file))

    @contextmanager
    def _open_parquet(self) -> Iterator[pq.ParquetFile]:
        with (
            raise_damaged(self.uri),
            storage.open_random(self.uri) as raw,
            pq.ParquetFile(raw, pre_buffer=True) as file,
        ):
            yield file

    def stored_parts(self, file: pq.ParquetFile) -> dict[int, StoredPart]:
        """Read where each part lies from the footer of the open file."""
        stored = json.loads(file.metadata.metadata[FOOTER])
        return {part: StoredPart.from_json(facts) for part, facts in zip(parts_of(self.number), stored, strict=True)}


def block_of(folder: str, part: int) -> BlockFile:
    """Return the block file that a part belongs to."""
    return BlockFile(folder, part // BLOCK)


def _read_tables(file: pq.ParquetFile, wanted: Mapping[int, StoredPart]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the wanted parts with their rows. Each row group that holds one of them is read once."""
    empty = file.schema_arrow.empty_table()
    yield from ((part, stored.restore(empty)) for part, stored in wanted.items() if not stored.rows)
    end = 0
    for number in range(file.num_row_groups):
        start, end = end, end + file.metadata.row_group(number).num_rows
        in_group = {part: of for part, of in wanted.items() if of.rows and start <= of.first < end}
        group = file.read_row_group(number) if in_group else empty
        for part, stored in in_group.items():
            yield part, stored.restore(group.slice(stored.first - start, stored.rows))


def conform_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert a table to a schema, nested fields included. Missing columns become null; extra columns are dropped."""
    plain = table.replace_schema_metadata(None)
    return plain if plain.schema.equals(schema) else pa.Table.from_pylist(plain.to_pylist(), schema=schema)


def write_block(folder: str, schema: pa.Schema, number: int) -> None:
    """Write a block file from the files of its parts, unless it exists or a part was reopened meanwhile.

    schema: the manifest's schema. Raises OSError if a part cannot be read, is damaged or is missing.
    """
    block = BlockFile(folder, number)
    if not block.exists():
        data = _block_bytes(block, schema, part_files(folder).stamps)
        if part_files(folder).parts.keys() >= set(parts_of(number)):
            storage.create(block.uri, data)


def remove_leftovers(folder: str, files: PartFiles) -> None:
    """Delete the part files whose rows are also in a block file. files: a listing of the folder.

    Only the process that holds the root's lock may call this: another run may have reopened a block meanwhile.
    """
    remove = object_store.remove_all if object_store.holds(folder) else partial(call_concurrently, storage.remove)
    remove([storage.join(folder, name) for name in files.superseded()])


def _block_bytes(block: BlockFile, schema: pa.Schema, stamps: Mapping[str, str]) -> bytes:
    uris = {block.part_uri(part): stamps.get(part_name(part), "") for part in parts_of(block.number)}
    read = call_concurrently(lambda uri: known_parts.read_bytes(uri, uris[uri]), uris)
    files = [_parse_parquet(uri, data) for uri, data in zip(uris, read, strict=True)]
    schemas = [schema, *(file.schema_arrow.remove_metadata() for file in files)]
    writer = BlockWriter(pa.unify_schemas(schemas, promote_options="permissive"))
    for uri, file in zip(uris, files, strict=True):
        with raise_damaged(uri):
            writer.add(file.read(), PartFacts.from_metadata(file.metadata.metadata))
    return writer.close()


def _parse_parquet(uri: str, data: bytes) -> pq.ParquetFile:
    with raise_damaged(uri):
        return pq.ParquetFile(pa.BufferReader(data))


class BlockWriter:
    """Writes the parts of a block in order; no part is split over two row groups."""

    def __init__(self, schema: pa.Schema) -> None:
        """schema: the union of the columns of all parts."""
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
        self.waiting.append(conform_table(table, self.schema))
        if sum(waiting.num_rows for waiting in self.waiting) >= GROUP_ROWS:
            self._end_group()

    def _end_group(self) -> None:
        group, self.waiting = pa.concat_tables(self.waiting), []
        if group.num_rows:
            self.writer.write_table(group, row_group_size=group.num_rows)

    def close(self) -> bytes:
        """Finish the file and return its bytes."""
        if self.waiting:
            self._end_group()
        self.writer.add_key_value_metadata({FOOTER: json.dumps([stored.to_json() for stored in self.stored])})
        self.writer.close()
        return bytes(self.sink.getvalue().to_pybytes())


def remove_part(folder: str, part: int) -> None:
    """Delete a committed part. If a block file holds the part, the block's other parts get part files again.

    Raises Damaged if that block file cannot be read.
    """
    block = block_of(folder, part)
    is_compacted = block.exists()
    if is_compacted:
        others = ((other, table) for other, table in block.read_all() if other != part)
        call_concurrently(lambda pair: storage.write_bytes(block.part_uri(pair[0]), parquet_bytes(pair[1])), others)
    storage.remove(block.part_uri(part))  # a late worker may have written this file beside the block file
    if is_compacted:
        storage.remove(block.uri)


def call_concurrently(call: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """Call a function on each value, several at once, and return the results. Raises its error after all have ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(call, values))
