"""Digests of a part's rows: equal rows give equal digests, on every machine and version of Python and Arrow.

Columns are hashed, which takes 1 % of the time of a commit; JSON of the rows would take a third or more. The bytes of
Parquet or Arrow files cannot be hashed, since they depend on the writer (encodings, padding, values behind nulls).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from manifests.records import TIMINGS


def digest_rows(table: pa.Table) -> str:
    """Return 64 hex digits for the rows of a manifest, in order, without the fields named in `TIMINGS`."""
    content = blake3()
    for name in sorted(table.column_names):
        _add(content, name, table[name].combine_chunks())
    return content.hexdigest()


def _add(content: blake3, path: str, column: pa.Array) -> None:
    """Hash a column: its name, which values are null, then the values; nested columns are hashed one by one.

    Every value of variable length is preceded by its length, so different columns never give the same bytes.
    """
    if path.rpartition(".")[2] in TIMINGS:
        return
    content.update(f"{path}\0{len(column)}\0{column.null_count}\0".encode())
    if column.null_count:
        content.update(_numbers(column.is_valid(), "u1"))
    if pa.types.is_struct(column.type):
        for name, inner in sorted(zip(column.type.names, column.flatten(), strict=True), key=lambda pair: str(pair[0])):
            _add(content, f"{path}.{name}", inner)
    elif pa.types.is_list(column.type):
        content.update(_numbers(pc.list_value_length(column.drop_null()), "<i8"))
        _add(content, path, column.flatten())
    else:
        _add_values(content, column.drop_null())


def _add_values(content: blake3, values: pa.Array) -> None:
    """Hash scalars without nulls: numbers as 8 bytes, little-endian; texts as lengths and UTF-8."""
    if pa.types.is_string(values.type):
        content.update(_numbers(pc.binary_length(values), "<i8"))
        content.update(_text(values))
    elif pa.types.is_floating(values.type):
        # the bits of a NaN differ between processors
        content.update(_numbers(pc.if_else(pc.is_nan(values), np.nan, values), "<f8"))
    else:
        content.update(_numbers(values, "<i8"))


def _numbers(values: pa.Array, form: str) -> bytes:
    return bytes(values.to_numpy(zero_copy_only=False).astype(form).tobytes())


def _text(values: pa.Array) -> memoryview:
    """Return the concatenated bytes of all texts, from Arrow's buffer."""
    if not len(values):
        return memoryview(b"")
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return memoryview(b"" if data is None else data).cast("B")[ends[0] : ends[-1]]
