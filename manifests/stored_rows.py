"""Rows of Parquet files in a store, as DuckDB reads them: file by file, through `manifests.storage`.

DuckDB takes an object with `schema` and `scanner(columns=, filter=)` for a data set of pyarrow. A true data set would
read with Arrow's own client, which counts no failed requests; over files of ours it blocks for ever where one fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import blocks, storage
from manifests.parquet_files import damage_named

AT_ONCE = 8  # files: each is small, and the wait is for the store


@dataclass(frozen=True)
class StoredRows:
    """The rows of all these files, in this schema: a column that a file lacks is null."""

    uris: Sequence[str]
    schema: pa.Schema

    def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> Scan:
        """Make a scan of some columns. DuckDB applies the filter itself."""
        names = self.schema.names if columns is None else list(columns)
        return Scan(self.uris, pa.schema([self.schema.field(name) for name in names]))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Stream all columns, for readers that know no scanners."""
        return self.scanner().to_reader().__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class Scan:
    """One pass over the files."""

    uris: Sequence[str]
    projected_schema: pa.Schema

    def to_reader(self) -> pa.RecordBatchReader:
        """Read the files one after the other, some ahead. Raises Damaged, StoreAway or another OSError."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        waiting: deque[Future[list[pa.RecordBatch]]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for uri in self.uris:
                waiting.append(pool.submit(self._of_file, uri))
                if len(waiting) > AT_ONCE:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def _of_file(self, uri: str) -> list[pa.RecordBatch]:
        with damage_named(uri), pq.ParquetFile(self._opened(uri)) as file:
            names = [name for name in self.projected_schema.names if name in file.schema_arrow.names]
            rows = file.read(columns=names, use_threads=False)
            batches: list[pa.RecordBatch] = blocks.conformed(rows, self.projected_schema).to_batches()
            return batches

    def _opened(self, uri: str) -> Any:
        """Parts are small: one request each. Of the rows of shards only the columns are asked for."""
        is_part = uri.rpartition("/")[2].startswith("part")
        return pa.BufferReader(storage.read_bytes(uri)) if is_part else storage.open_random(uri)
