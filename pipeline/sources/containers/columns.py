"""Find the column of a table that holds the media, by its type, then by its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.sources.containers.members import Unreadable
from pipeline.sources.containers.table_files import TableFile

LONGEST_NAME = 4096  # bytes
BYTES, PATH = "bytes", "path"  # the fields of the Hub's Video, Audio and Image
NAMES = ("mp4", "webm", "mkv", "mov", "avi", "m4v", "mpg", "ts", "video", "clip", "movie")


def find_column(schema: pa.Schema, chosen: str = "") -> str:
    """Return the column with the media. Raises Unreadable without such a column, or with several candidates.

    chosen: the column that the settings name.
    """
    found = candidates(schema)
    if chosen:
        if chosen not in found:
            raise Unreadable(f"media_column: no column {chosen!r} with bytes (those with bytes: {_listed(found)})")
        return chosen
    if not found:
        raise Unreadable("no column holds media: bytes, or a struct of bytes and path")
    ranks = {name: _rank(schema, name) for name in found}
    best = [name for name in found if ranks[name] == min(ranks.values())]
    if len(best) > 1:
        raise Unreadable(f"several columns may hold the media ({_listed(best)}): set media_column")
    return best[0]


def candidates(schema: pa.Schema) -> list[str]:
    """Return columns of bytes, and structs with a field of bytes."""
    return [field.name for field in schema if _is_binary(field.type) or has_bytes_below(field.type)]


def is_surely_media(schema: pa.Schema, name: str) -> bool:
    """Return whether the column certainly holds media: `datasets` declares it, or it is a struct with bytes."""
    return _feature(schema, name) in ("Video", "Audio", "Image") or has_bytes_below(schema.field(name).type)


def metadata_columns(schema: pa.Schema, media: str) -> list[str]:
    """Return all other columns, and the path in the media column."""
    names = [name for name in schema.names if name != media]
    kind = schema.field(media).type
    has_path = has_bytes_below(kind) and kind.get_field_index(PATH) >= 0
    return [*names, f"{media}.{PATH}"] if has_path else names


def has_bytes_below(kind: pa.DataType) -> bool:
    """Return whether this is the Hub's struct of bytes and path."""
    return bool(pa.types.is_struct(kind)) and kind.get_field_index(BYTES) >= 0 and _is_binary(kind.field(BYTES).type)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind)) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _rank(schema: pa.Schema, name: str) -> int:
    feature, words = _feature(schema, name), name.lower().replace(".", "_").split("_")
    if feature == "Video":
        return 0
    if set(words) & set(NAMES) and feature not in ("Audio", "Image"):
        return 1
    return 2 if has_bytes_below(schema.field(name).type) and feature is None else 3


def _feature(schema: pa.Schema, name: str) -> str | None:
    """Return the feature type that `datasets` names for a column: Video, Audio, Image, Value, …"""
    try:
        known: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return str(known["info"]["features"][name]["_type"])
    except (ValueError, KeyError, TypeError):
        return None


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def is_table_of_media(table: TableFile, chosen: str, names: Sequence[str]) -> bool:
    """Return whether a table in the input holds the videos themselves, and is not a list of videos.

    chosen: the column that the settings name. names: columns in which lists name videos; some writers store these names
    as bytes.
    """
    found = candidates(table.schema)
    if chosen in found or any(is_surely_media(table.schema, name) for name in found):
        return True
    texts = [name for name in found if name in names and _holds_names(table, name)]
    lists = [name for name in table.schema.names if name in names and name not in found]
    return bool(set(found) - set(texts)) and not (lists or texts)


def _holds_names(table: TableFile, column: str) -> bool:
    """Return whether the first value of a column of bytes is a name."""
    batch = next(table.batches(0, [column], 1), None) if table.group_rows() else None
    value = batch.column(0)[0].as_py() if batch is not None and len(batch) else None
    if value is None or len(value) > LONGEST_NAME or b"\0" in value:
        return value is None
    try:
        return bool(value.decode())
    except UnicodeDecodeError:
        return False
