"""Read the records of a file: a JSON list, JSONL or Parquet.

Files of hundreds of megabytes are read a piece at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BadMedia, ConfigError

PIECE = 1 << 20  # characters read at a time; a record of the released files has about 2000
ROWS = 4  # rows of Parquet read at a time: a row can contain images and videos
PARQUET = b"PAR1"  # the first bytes of a Parquet file
SPACE = re.compile(r"[ \t\r\n]*")


def read_records(path: str) -> Iterator[tuple[int, Any]]:
    """Yield number and content of every record of a JSON list, JSONL or Parquet; a broken line of JSONL as BadMedia.

    Raises ConfigError if the list is truncated or the format unknown, OSError if the file cannot be read.
    """
    with open(path, "rb") as start:
        parquet = start.read(len(PARQUET)) == PARQUET
    yield from enumerate(_read_parquet(path) if parquet else _read_json(path))


def _read_parquet(path: str) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # pre-buffering would hold a whole row group's media
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: broken Parquet: {' '.join(str(error).split())}") from error


def _read_json(path: str) -> Iterator[Any]:
    try:
        # bytes that are not UTF-8 become surrogates, so that only their record fails
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            if first not in ("[", "{"):
                raise ConfigError(f"{path}: expected a JSON list of records, JSONL or Parquet")
            yield from _read_list(file) if first == "[" else _read_lines(first, file)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: broken JSON: {' '.join(str(error).split())}") from error


def _read_list(file: TextIO) -> Iterator[Any]:
    """Yield the values of a list after its `[`. Pieces double in size until the next value fits."""
    decode, text, at, piece = json.JSONDecoder(parse_constant=_constant_as_none).raw_decode, "", 0, PIECE
    while True:
        try:
            at = _skip_space(text, at)
            if text.startswith("]", at):
                break
            value, end = decode(text, at)
            end = _skip_space(text, end)
            if text[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected , or ]", text[end : end + 80], 0)
        except json.JSONDecodeError:
            read = file.read(piece)
            if not read:
                raise
            text, at, piece = text[at:] + read, 0, piece * 2
            continue
        yield value
        at, piece = end + (text[end] == ","), PIECE
    if text[at + 1 :].strip() or file.read(PIECE).strip():
        raise json.JSONDecodeError("text after the end of the list", text[at : at + 80], 0)


def _skip_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _read_lines(first: str, file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file):
        whole = first + line if number == 0 else line
        if not whole.strip():
            continue
        try:
            yield json.loads(whole, parse_constant=_constant_as_none)
        except (json.JSONDecodeError, RecursionError) as error:
            yield BadMedia("not JSON", str(error))


def _constant_as_none(_: str) -> None:
    """Return None for NaN and Infinity, which Python writes although JSON does not have them."""
