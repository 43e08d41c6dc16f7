"""Read the media in the rows of a table, row after row.

A row group (in an Arrow file: a batch) is read from its beginning up to the requested row. Requests in ascending order,
as for the sources of a part, read it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from manifests.ledger import one_line
from pipeline.errors import BadMedia
from pipeline.sources.containers.columns import BYTES, has_bytes_below
from pipeline.sources.containers.table_files import TableFile, open_table


def bytes_column(schema: pa.Schema, column: str) -> str:
    """Return the path of the column with the bytes: the media column itself, or its field."""
    return f"{column}.{BYTES}" if has_bytes_below(schema.field(column).type) else column


def media_values(table: TableFile, column: str, group: int) -> Iterator[pa.Buffer | None]:
    """Yield the bytes of the media of each row in order."""
    path = bytes_column(table.schema, column)
    is_struct = path != column
    for batch in table.batches(group, [path], 1):
        values = batch.column(0)
        values = pc.struct_field(values, BYTES) if is_struct else values
        yield from (value.as_buffer() for value in values)


def is_damage(error: OSError) -> bool:
    """Return whether an error is Arrow's own; errors of stores and file systems have a number or their own class."""
    return type(error) is OSError and error.errno is None and "://" not in str(error)


def damage(group: int, error: Exception) -> str:
    """Return the reason for the rows of a row group that cannot be read."""
    return f"row group {group} is damaged: {one_line(error)}"


@dataclass
class _Cursor:
    """The position in a row group; rows are usually requested in order."""

    key: tuple[str, str, str, int]
    values: Iterator[pa.Buffer | None]
    next: int = 0


_last: list[_Cursor] = []  # of this process


def value_at(uri: str, stamp: str, place: str) -> pa.Buffer:
    """Return the bytes of one row. stamp: of the file.

    Raises BadMedia if the row group is damaged, OSError if the row is missing or the store does not answer.
    """
    quoted, group, row = place.split("/")
    key = (uri, stamp, unquote(quoted), int(group))
    if not (_last and _last[0].key == key and _last[0].next <= int(row)):
        _last[:] = [_Cursor(key, media_values(open_table(uri, stamp), key[2], key[3]))]
    cursor = _last[0]
    try:
        value = next(islice(cursor.values, int(row) - cursor.next, None), None)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        _last.clear()  # a reading that failed has ended
        raise BadMedia(damage(int(group), error)) from error
    cursor.next = int(row) + 1
    if value is None:
        raise OSError(f"{uri}: row {row} of group {group} is not there any more: it was replaced")
    return value
