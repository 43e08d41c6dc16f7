"""Read lists of videos: JSONL, CSV or Parquet, with a column that names the video; other columns become metadata.

Cells of a CSV are text. A row that cannot be read becomes a source with a fault; the other rows are used.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import one_line
from manifests.records import Span
from pipeline.errors import ConfigError
from pipeline.sources.clip_spans import END, START, Meta, NamedVideo, Times, Unusable, as_json, times_of

FORMS = (".jsonl", ".csv", ".parquet")
COLUMNS = ("uri", "path", "video", "file")  # in this order: where the video is


@dataclass(frozen=True)
class ListRow:
    """A row of a list: a video and its other columns as JSON; or a fault.

    spans: clips that rows of the video name. uri: of the video; for a row with a fault, the uri of the list and the
    number of the row: `videos.jsonl#7`.
    """

    uri: str
    meta: str = "{}"
    fault: str | None = None
    spans: tuple[Span, ...] = ()


def read_list(name: str) -> list[ListRow]:
    """Return the videos of a list in order, then the unusable rows. Relative paths start at the list's folder.

    Raises ConfigError for a list that does not exist, or that has no usable row.
    """
    if not storage.exists(name):
        raise ConfigError(f"inputs: no such list: {name}")
    place = storage.normal(name)
    named: dict[str, NamedVideo] = {}
    faults = []
    for number, facts in enumerate(_facts(name), start=1):
        try:
            uri, meta, span = _row(facts, place.rsplit("/", 1)[0])
            named.setdefault(uri, NamedVideo()).add(number, meta, span)
        except Unusable as error:
            faults.append(ListRow(f"{place}#{number}", fault=f"row {number} {error}"))
    if faults and not named:
        raise ConfigError(f"inputs: {name} is not a readable list: {faults[0].fault}")
    return [*(ListRow(uri, as_json(video.meta), spans=video.spans) for uri, video in named.items()), *faults]


def _row(facts: Any, base: str) -> tuple[str, Meta, Times | None]:
    """Return the video that a row names, its further columns, and the span. Raises Unusable."""
    if isinstance(facts, Unusable):
        raise facts
    if not isinstance(facts, dict):
        raise Unusable(f"is no object of columns: {str(facts)[:50]!r}")
    column = next((column for column in COLUMNS if facts.get(column)), None)
    if column is None:
        raise Unusable(f"names no video (columns looked for: {', '.join(COLUMNS)})")
    try:
        times = times_of(facts)
        left_out = {column, *((START, END) if times else ())}
        meta = {key: value for key, value in facts.items() if key not in left_out}
        name = _name(column, facts[column])
        (as_json(meta) + name).encode()
    except UnicodeEncodeError as error:
        raise Unusable(f"holds half a character (\\u{ord(error.object[error.start]):04x})") from error
    except RecursionError as error:
        raise Unusable("is nested too deep") from error
    return _full(name, base), meta, times


def _name(column: str, value: Any) -> str:
    """Return the column that names a video, which some writers of Parquet store as bytes. Raises Unusable."""
    try:
        name = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise Unusable(f"names a video in bytes that are no UTF-8 ({column})") from error
    if not isinstance(name, str):
        raise Unusable(f"names no video: {column} is no text: {str(name)[:50]!r}")
    return name


def _full(uri: str, base: str) -> str:
    """Return an absolute URI. `file://` may name this machine, and may have escapes such as %20."""
    if uri.startswith("file://"):
        written = uri.removeprefix("file://").removeprefix("localhost")
        path = storage.normal(written)
        return path if os.path.lexists(path) else storage.normal(unquote(written))
    return storage.normal(uri if "://" in uri or os.path.isabs(uri) else storage.join(base, uri))


def _facts(name: str) -> Iterator[Any]:
    """Yield the columns of each row, or an Unusable. Raises ConfigError for a file that is not a list."""
    data, form = storage.read_bytes(name), os.path.splitext(name.lower())[1]
    try:
        if form == ".parquet":
            yield from _parquet_rows(pq.read_table(pa.BufferReader(data)))
        elif form == ".csv":
            yield from _csv_rows(_text(data))
        else:
            # not splitlines: a title may hold what Unicode calls the end of a line
            lines = _utf8(data).split(b"\n")
            yield from (_json_row(line) for line in lines if line.strip())
    except (pa.ArrowException, ValueError, csv.Error) as error:
        raise ConfigError(f"inputs: {name} is not a readable list: {one_line(error)}") from error


def _parquet_rows(table: pa.Table) -> Iterator[Any]:
    """Return the rows of a table. If some values cannot be read, read row by row, which is slower."""
    try:
        yield from table.to_pylist()
    except (ValueError, OverflowError):  # text that is no UTF-8; a time after the year 9999
        yield from (_parquet_row(table.slice(number, 1)) for number in range(len(table)))


def _parquet_row(row: pa.Table) -> Any:
    try:
        return row.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return Unusable(f"has a value that cannot be read: {one_line(error)}")


def _utf8(data: bytes) -> bytes:
    """Return JSON lines as UTF-8 without a byte order mark. Some Windows tools write UTF-16."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="surrogatepass").encode(errors="surrogatepass")
    return data.removeprefix(b"\xef\xbb\xbf")


def _json_row(line: bytes) -> Any:
    try:
        return json.loads(line, parse_constant=lambda name: None)  # NaN and Infinity, which JSON does not have
    except ValueError as error:  # also of bytes that are no UTF-8
        return Unusable(f"is no JSON: {one_line(error)}")
    except RecursionError:
        return Unusable("is nested too deep")


def _csv_rows(text: str) -> Iterator[Any]:
    """Yield rows by the column names of the first line. Cells are text; a missing cell at a row's end is ""."""
    csv.field_size_limit(sys.maxsize)
    # strict: else a quote that is never closed takes all rows after it into one cell, without a word
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = next(reader, [])
    while (cells := _csv_cells(reader)) is not None:
        if isinstance(cells, Unusable):
            yield cells
        elif len(cells) > len(names):
            yield Unusable(f"has {len(cells)} cells, but the first line has {len(names)} names")
        elif cells:
            yield dict(zip_longest(names, cells, fillvalue=""))


def _csv_cells(reader: Iterator[list[str]]) -> list[str] | Unusable | None:
    """Return the next row, [] for an empty line; None at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        if "unexpected end" in str(error):
            return Unusable("opens a quote that is never closed: it and all rows after it cannot be read")
        return Unusable(f"is no CSV: {one_line(error)}")


def _text(data: bytes) -> str:
    """Decode a file by its byte order mark, as UTF-8, or by the most likely encoding."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        likely = from_bytes(data).best()
        return str(likely) if likely is not None else data.decode("latin-1")
