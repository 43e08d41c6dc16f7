"""Give DuckDB the rows of Parquet files in a store, read file by file through `manifests.storage`.

DuckDB accepts any object with `schema` and `scanner(columns=, filter=)` as a pyarrow dataset. A real dataset would read
with Arrow's own store client, which does not count retries; over Python file objects it hangs if a read fails.
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
from manifests.parquet_files import raise_damaged

AT_ONCE = 8  # concurrent files: each is small, and the latency is the store's


@dataclass(frozen=True)
class StoredRows:
    """The rows of several files in one schema; columns that a file lacks are null."""

    uris: Sequence[str]
    schema: pa.Schema

    def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> Scan:
        """Return a scan of some columns. The filter is ignored: DuckDB applies it again."""
        names = self.schema.names if columns is None else list(columns)
        return Scan(self.uris, pa.schema([self.schema.field(name) for name in names]))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Stream all columns, for readers that do not call `scanner`."""
        return self.scanner().to_reader().__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class Scan:
    """One pass over the files."""

    uris: Sequence[str]
    projected_schema: pa.Schema

    def to_reader(self) -> pa.RecordBatchReader:
        """Read the files in order, with prefetching. Raises Damaged, StoreUnreachable or another OSError."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        waiting: deque[Future[list[pa.RecordBatch]]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for uri in self.uris:
                waiting.append(pool.submit(self._read_file, uri))
                if len(waiting) > AT_ONCE:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def _read_file(self, uri: str) -> list[pa.RecordBatch]:
        with raise_damaged(uri), pq.ParquetFile(self._open_file(uri)) as file:
            names = [name for name in self.projected_schema.names if name in file.schema_arrow.names]
            rows = file.read(columns=names, use_threads=False)
            batches: list[pa.RecordBatch] = blocks.conform_table(rows, self.projected_schema).to_batches()
            return batches

    def _open_file(self, uri: str) -> Any:
        """Open a file. A part is small and read by one request; of shard rows only the wanted columns are read."""
        is_part = uri.rpartition("/")[2].startswith("part")
        return pa.BufferReader(storage.read_bytes(uri)) if is_part else storage.open_random(uri)
