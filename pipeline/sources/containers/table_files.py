"""Read Parquet files, Arrow files and Arrow streams: schema, row groups, and columns of one group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from pipeline.sources.containers.readers import check_stamp

BUFFER = 1 << 20  # bytes of one read of a column; nothing is read ahead of that


class TableFile(Protocol):
    """Interface of tables that are read by groups of rows."""

    schema: pa.Schema

    def group_rows(self) -> list[int]:
        """Return the number of rows of each group."""

    def is_full(self, group: int, column: str) -> bool:
        """Return whether no value of the column is null in the group, as far as statistics tell."""

    def batches(self, group: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yield these columns of one group, up to `rows` rows at a time. `video.bytes` is a field of a struct."""


def open_table(uri: str, stamp: str = "") -> TableFile:
    """Open a table by its file ending. stamp: its ETag, if known. Raises pa.ArrowException, OSError."""
    file = storage.open_random(uri)
    check_stamp(file, uri, stamp)
    if uri.lower().endswith(".parquet"):
        return ParquetTable(file)
    return ArrowTable(file)


class ParquetTable:
    """A Parquet file."""

    def __init__(self, file: Any) -> None:
        """Read the footer."""
        self.file = pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER)
        self.schema = self.file.schema_arrow

    def group_rows(self) -> list[int]:
        """Return the number of rows of each row group."""
        metadata = self.file.metadata
        return [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]

    def is_full(self, group: int, column: str) -> bool:
        """See TableFile."""
        row_group = self.file.metadata.row_group(group)
        chunks = [row_group.column(n) for n in range(row_group.num_columns)]
        (statistics,) = (chunk.statistics for chunk in chunks if chunk.path_in_schema == column)
        return statistics is not None and statistics.has_null_count and not statistics.null_count

    def batches(self, group: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See TableFile."""
        yield from self.file.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)


class ArrowTable:
    """An Arrow file or Arrow stream, as written by `datasets`; its record batches are the groups."""

    def __init__(self, file: Any) -> None:
        """Read the schema and the places of the batches; of a stream, the batches themselves."""
        try:
            reader = pa.ipc.open_file(file)
            self.count, self.read = reader.num_record_batches, reader.get_batch
            self.schema = reader.schema
        except pa.ArrowInvalid:
            file.seek(0)
            stream = pa.ipc.open_stream(file)
            batches = list(stream)
            self.count, self.read = len(batches), batches.__getitem__
            self.schema = stream.schema

    def group_rows(self) -> list[int]:
        """Return the number of rows of each batch."""
        return [self.read(n).num_rows for n in range(self.count)]

    def is_full(self, group: int, column: str) -> bool:
        """See TableFile."""
        return False

    def batches(self, group: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See TableFile."""
        batch = self.read(group)
        for start in range(0, batch.num_rows, rows):
            yield _chosen(batch.slice(start, rows), columns)


def _chosen(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Return these columns of a batch; for `column.field`, the field of the struct."""
    arrays: dict[str, pa.Array] = {}
    for name in columns:
        if name in batch.schema.names:
            arrays[name] = batch.column(name)
        else:
            column, _, field = name.rpartition(".")
            arrays[column] = pa.StructArray.from_arrays([pc.struct_field(batch.column(column), field)], [field])
    return pa.RecordBatch.from_pydict(arrays)
