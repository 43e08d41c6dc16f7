"""A cache for reading the parts of block files in object stores one after the other, as pack does.

The footer of a block file is read once, and so is each row group as long as its parts are read in a row.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.blocks import BlockFile, StoredPart
from manifests.parquet_files import raise_damaged

OPEN_FILES_KEPT = 16  # block files, and row groups of 8,192 rows: one for each step that a pack reads

_lock = threading.Lock()


def read_part(block: BlockFile, part: int, stamp: str) -> pa.Table:
    """Read all rows of a part. stamp: ETag of the block file, by a listing. Raises FileNotFoundError or Damaged."""
    with _lock, raise_damaged(block.uri):
        file, parts = _open(block, stamp)
        stored = parts[part]
        starts = [0, *accumulate(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups))]
        number = max((n for n in range(file.num_row_groups) if starts[n] <= stored.first), default=None)
        if number is None or not stored.rows:
            return stored.restore(file.schema_arrow.empty_table())
        return stored.restore(_read_group(block, stamp, number).slice(stored.first - starts[number], stored.rows))


def forget() -> None:
    """Clear the cache."""
    _open.cache_clear()
    _read_group.cache_clear()


@lru_cache(OPEN_FILES_KEPT)
def _open(block: BlockFile, stamp: str) -> tuple[pq.ParquetFile, dict[int, StoredPart]]:
    file = pq.ParquetFile(storage.open_random(block.uri), pre_buffer=True)
    return file, block.stored_parts(file)


@lru_cache(OPEN_FILES_KEPT)
def _read_group(block: BlockFile, stamp: str, number: int) -> pa.Table:
    return _open(block, stamp)[0].read_row_group(number)
