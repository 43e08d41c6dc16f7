"""Sources in Parquet and Arrow files: rows with media as bytes, or as the Hub's `{bytes, path}` of Video, Audio, …"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import repeat
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from manifests import storage
from manifests.ledger import one_line
from pipeline.sources.clip_spans import as_json
from pipeline.sources.containers.columns import PATH, find_column, metadata_columns
from pipeline.sources.containers.grouping import MemberSource
from pipeline.sources.containers.members import Unreadable
from pipeline.sources.containers.table_files import TableFile, open_table
from pipeline.sources.containers.table_values import bytes_column, damage, is_damage, media_values

META_ROWS = 64  # of which the metadata is read at once
UNREAD = pa.py_buffer(b"")  # stands for media that are there, and that the index does not read


def rows(uri: str, column: str) -> Iterator[MemberSource]:
    """Yield a source per row, named by its number from 0. column: with the media; "" to find it by type and name.

    A row without bytes, or that cannot be read, has a fault. The media of a Parquet file in a store are not read here,
    so their sizes and digests are unknown until a row is fetched.
    """
    try:
        table = open_table(uri)
        column = find_column(table.schema, column)
    except (Unreadable, pa.ArrowException) as error:
        reason = str(error) if isinstance(error, Unreadable) else f"the table cannot be read: {one_line(error)}"
        yield MemberSource(name="", fault=reason)
        return
    first = 0
    for group, many in enumerate(table.group_rows()):
        yield from _group(table, column, group, range(first, first + many), is_local=storage.is_local(uri))
        first += many
    if not first:
        yield MemberSource(name="", fault="a table without rows")


def _group(table: TableFile, column: str, group: int, numbers: range, is_local: bool) -> Iterator[MemberSource]:
    done = 0
    try:
        is_unread = not is_local and table.is_full(group, bytes_column(table.schema, column))
        values = repeat(UNREAD, len(numbers)) if is_unread else media_values(table, column, group)
        for meta, value in zip(_metadata(table, column, group), values, strict=True):
            place = f"{quote(column, safe='')}/{group}/{done}"
            yield _source(str(numbers[done]), place, meta, value)
            done += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        for number in numbers[done:]:
            yield MemberSource(name=str(number), fault=damage(group, error))


def _source(name: str, place: str, meta: dict[str, Any], value: pa.Buffer | None) -> MemberSource:
    if value is None:
        paths = [each[PATH] for each in meta.values() if isinstance(each, dict) and set(each) == {PATH}]
        where = f", only the path {paths[0]!r}" if paths and paths[0] else ""
        return MemberSource(name=name, meta=as_json(meta), fault=f"the row holds no bytes{where}")
    if value is UNREAD:
        return MemberSource(name=name, place=place, meta=as_json(meta))
    digest = hashlib.sha256(value).hexdigest()
    return MemberSource(name=name, bytes=value.size, place=place, meta=as_json(meta), sha256=digest)


def _metadata(table: TableFile, column: str, group: int) -> Iterator[dict[str, Any]]:
    names = metadata_columns(table.schema, column)
    if not names:
        yield from ({} for _ in range(table.group_rows()[group]))
        return
    for batch in table.batches(group, names, META_ROWS):
        yield from batch.to_pylist()
