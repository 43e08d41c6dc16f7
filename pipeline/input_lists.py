"""Lists of videos: JSONL, CSV or Parquet, with a column that names the video and further columns that are carried.

Text stays text: every cell of a CSV is one. A row that cannot be read is a row with its reason, and the rest goes on.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import one_line
from pipeline.errors import ConfigError

FORMS = (".jsonl", ".csv", ".parquet")
COLUMNS = ("uri", "path", "video", "file")  # in this order: where the video is


@dataclass(frozen=True)
class ListRow:
    """A row of a list: the video it names, and its further columns as JSON; or what is wrong with it.

    uri: of the video; of a row with a fault, that of the list and the row's number: `videos.jsonl#7`.
    """

    uri: str
    meta: str = "{}"
    fault: str | None = None


class Unusable(ValueError):
    """A row does not name a video; its words are the row's fault."""


def read_list(name: str) -> list[ListRow]:
    """The rows of a list, in order. Relative paths count from the list's folder.

    Raises ConfigError for a list that is not there, or of which no row can be used.
    """
    if not storage.exists(name):
        raise ConfigError(f"inputs: no such list: {name}")
    place = storage.normal(name)
    named: dict[str, int] = {}
    rows = []
    for number, facts in enumerate(_facts(name), start=1):
        try:
            row = _row(facts, place.rsplit("/", 1)[0])
            if row.uri in named:
                raise Unusable(f"names the same video as row {named[row.uri]}")
            named[row.uri] = number
        except Unusable as error:
            row = ListRow(f"{place}#{number}", fault=f"row {number} {error}")
        rows.append(row)
    if rows and not named:
        raise ConfigError(f"inputs: {name} is not a readable list: {rows[0].fault}")
    return rows


def _row(facts: Any, base: str) -> ListRow:
    """A row of its facts. Raises Unusable."""
    if isinstance(facts, Unusable):
        raise facts
    if not isinstance(facts, dict):
        raise Unusable(f"is no object of columns: {str(facts)[:50]!r}")
    column = next((column for column in COLUMNS if facts.get(column)), None)
    if column is None:
        raise Unusable(f"names no video (columns looked for: {', '.join(COLUMNS)})")
    rest = {key: _plain(value) for key, value in facts.items() if key != column}
    meta = json.dumps(rest, sort_keys=True, ensure_ascii=False, default=str, allow_nan=False)
    try:
        (meta + str(facts[column])).encode()
    except UnicodeEncodeError as error:
        raise Unusable(f"holds half a character (\\u{ord(error.object[error.start]):04x})") from error
    return ListRow(_full(str(facts[column]), base), meta)


def _full(uri: str, base: str) -> str:
    """A URI as the rest of the run knows it. `file://` may have its characters written as %20, or not."""
    if uri.startswith("file://"):
        path = storage.normal(uri)
        return path if os.path.lexists(path) else storage.normal(unquote(uri))
    return storage.normal(uri if "://" in uri or os.path.isabs(uri) else storage.join(base, uri))


def _plain(value: Any) -> Any:
    """A value that JSON holds: null for what is no number, base64 for bytes."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _facts(name: str) -> Iterator[Any]:
    """The columns of each row, or an Unusable in its place. Raises ConfigError for a file that is no list."""
    data, form = storage.read_bytes(name), os.path.splitext(name.lower())[1]
    try:
        if form == ".parquet":
            yield from pq.read_table(pa.BufferReader(data)).to_pylist()
        elif form == ".csv":
            yield from _csv_rows(_text(data))
        else:
            # not splitlines: a title may hold what Unicode calls the end of a line
            lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
            yield from (_json_row(line) for line in lines if line.strip())
    except (pa.ArrowException, ValueError, csv.Error) as error:
        raise ConfigError(f"inputs: {name} is not a readable list: {one_line(error)}") from error


def _json_row(line: bytes) -> Any:
    try:
        return json.loads(line, parse_constant=lambda name: None)  # NaN and Infinity, which JSON does not have
    except ValueError as error:  # also of bytes that are no UTF-8
        return Unusable(f"is no JSON: {one_line(error)}")
    except RecursionError:
        return Unusable("is no JSON: too deep")


def _csv_rows(text: str) -> Iterator[Any]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    for row in reader:
        surplus = row.pop(None, None)
        yield Unusable(f"has {len(surplus)} cells too many") if surplus else row


def _text(data: bytes) -> str:
    """A file's text, by its own mark or as UTF-8, else as it most likely was written."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        likely = from_bytes(data).best()
        return str(likely) if likely is not None else data.decode("latin-1")
