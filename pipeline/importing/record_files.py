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

PIECE = 1 << 20  # characters read at a time; a record of the released files has two thousand
ROWS = 4  # of Parquet read at a time: their pictures and videos stand in them
PARQUET = b"PAR1"  # what such a file begins with
SPACE = re.compile(r"[ \t\r\n]*")


def records(path: str) -> Iterator[tuple[int, Any]]:
    """Number and content of every record of a JSON list, JSONL or Parquet; a broken line of JSONL comes as BadMedia.

    Raises ConfigError for a list that breaks off or is none, OSError where the file cannot be read.
    """
    with open(path, "rb") as start:
        parquet = start.read(len(PARQUET)) == PARQUET
    yield from enumerate(_rows(path) if parquet else _texts(path))


def _rows(path: str) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # else a whole row group's media would be in memory
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: broken Parquet: {' '.join(str(error).split())}") from error


def _texts(path: str) -> Iterator[Any]:
    try:
        # bytes that are no UTF-8 become halves of characters, which cost their record alone
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            if first not in ("[", "{"):
                raise ConfigError(f"{path}: neither a JSON list of records nor JSONL nor Parquet")
            yield from _listed(file) if first == "[" else _lines(first, file)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: broken JSON: {' '.join(str(error).split())}") from error


def _listed(file: TextIO) -> Iterator[Any]:
    """The values of a list whose bracket was read; pieces double while a value does not fit in them."""
    decode, text, at, piece = json.JSONDecoder(parse_constant=_null).raw_decode, "", 0, PIECE
    while True:
        try:
            at = _after_space(text, at)
            if text.startswith("]", at):
                break
            value, end = decode(text, at)
            end = _after_space(text, end)
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
        raise json.JSONDecodeError("there is more after the end of the list", text[at : at + 80], 0)


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _lines(first: str, file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file):
        whole = first + line if number == 0 else line
        if not whole.strip():
            continue
        try:
            yield json.loads(whole, parse_constant=_null)
        except (json.JSONDecodeError, RecursionError) as error:
            yield BadMedia("not JSON", str(error))


def _null(_: str) -> None:
    """NaN and Infinity, which Python writes and JSON does not have."""
