"""DuckDB views over the manifests, one per step: in memory, and in `<root>/manifest.duckdb` for users.

connection = connect(root, manifests)
connection.sql("SELECT status, count(*) FROM split GROUP BY ALL")

A step's view has all columns of its record. In rows written before a column was added, the column has the field's
default; fields added to nested records are null.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from manifests import blocks, storage
from manifests.duplicate_records import DuplicateClip, DuplicatePair
from manifests.ledger import Damaged, Manifest
from manifests.moved_root import DATABASE, literal_path, movable_statements, setting, sql_string
from manifests.parquet_files import read_undamaged
from manifests.records import PackedTask
from manifests.review_view import review_statement
from manifests.schema import record_schema
from manifests.sources import SourceManifest
from manifests.stored_rows import StoredRows

SCRIPT = "views.sql"
# view: file below the root of a run that makes fingerprints, and its record
DUPLICATES: Mapping[str, tuple[str, type]] = {
    "duplicates": ("duplicates/clips.parquet", DuplicateClip),
    "duplicate_pairs": ("duplicates/pairs.parquet", DuplicatePair),
}
ROW_FILE = "file_of_row"  # name of an internal column that views hide
FILES = "files_of_"  # prefix to a view's name: the registered rows of its files in a store
ATTEMPTS = 3  # of a query whose files are replaced meanwhile
FILE_GONE = (
    duckdb.IOException,
    duckdb.InvalidInputException,
)  # DuckDB's errors, also for other causes
T = TypeVar("T")
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}


def sources(
    root: str, manifests: Iterable[Manifest], shards: Mapping[str, str], damaged: list[Damaged] | None = None
) -> dict[str, list[str]]:
    """Return the Parquet files of each view by the view's name; steps without files are left out.

    shards: the folder of each stage's shard set, below the root. damaged: if given, every file is read first;
    unreadable files are appended to this list and left out.
    """
    found = {}
    for manifest in manifests:
        folder = literal_path(manifest.folder_uri)
        names = manifest.file_names() if damaged is None else _undamaged_names(manifest, damaged)
        found[manifest.name] = [f"{folder}/{name}" for name in names]
    paths = {f"shards_{stage}": storage.join(root, folder, "shards.parquet") for stage, folder in shards.items()}
    if "fingerprint" in found:
        paths |= {name: storage.join(root, path) for name, (path, _) in DUPLICATES.items()}
    for name, path in paths.items():
        if storage.exists(path) and (damaged is None or _can_be_read(path, damaged)):
            found[name] = [literal_path(path)]
    return {name: files for name, files in found.items() if files}


def _undamaged_names(manifest: Manifest, damaged: list[Damaged]) -> list[str]:
    """Return the names of a manifest's undamaged files; append the damage of others to `damaged`."""
    faults: list[Damaged] = []
    try:
        names = manifest.file_names()
        found = [name for name in names if _can_be_read(storage.join(manifest.folder_uri, name), faults)]
    except FileNotFoundError:  # compacted meanwhile
        return _undamaged_names(manifest, damaged)
    damaged += faults
    return found


def _can_be_read(uri: str, damaged: list[Damaged]) -> bool:
    """Return whether a file can be read; if not, append the error to `damaged`."""
    try:
        read_undamaged(uri)
    except Damaged as damage:
        damaged.append(damage)
        return False
    return True


@dataclass(frozen=True)
class ViewColumns:
    """The columns of a view. defaults: SQL values, by column, for `ok` rows of files that lack the column."""

    schema: pa.Schema
    defaults: Mapping[str, str]


def columns_of(record: type, schema: pa.Schema) -> ViewColumns:
    """Return the columns of a view of these records, stored with this schema."""
    known = {field.name: field.default for field in fields(record) if field.default is not MISSING}
    literals = {name: _literal(value) for name, value in known.items()}
    return ViewColumns(schema, {name: text for name, text in literals.items() if text is not None})


def _literal(value: Any) -> str | None:
    """Return a field's default as SQL; None for null and for records."""
    if isinstance(value, tuple):
        inner = [_literal(each) for each in value]
        return None if None in inner else f"[{', '.join(map(str, inner))}]"
    if value is None or is_dataclass(value):
        return None
    return sql_string(value) if isinstance(value, str) else str(value)


def _columns(manifests: Iterable[Manifest], shards: Iterable[str]) -> dict[str, ViewColumns]:
    """Return the columns of each view, by the view's name."""
    found = {manifest.name: columns_of(manifest.record, manifest.schema) for manifest in manifests}
    found |= {name: columns_of(record, record_schema(record)) for name, (_, record) in DUPLICATES.items()}
    packed = columns_of(PackedTask, record_schema(PackedTask))
    return found | {f"shards_{stage}": packed for stage in shards}


def _view_statements(tables: Mapping[str, str], columns: Mapping[str, ViewColumns]) -> list[str]:
    statements = [f"CREATE OR REPLACE VIEW {name} AS {_select(table, columns[name])}" for name, table in tables.items()]
    stages = [name for name in tables if name.startswith("shards_")]
    if stages:
        union = " UNION ALL BY NAME ".join(f"SELECT * FROM {name}" for name in stages)
        statements.append(f"CREATE OR REPLACE VIEW shards AS {union}")
    return statements


def _read_parquet(files: Sequence[str], more: str = "") -> str:
    # a parent folder of the root may be named like `width=640`, which is no partition column
    options = f"union_by_name = true, hive_partitioning = false{more}"
    return f"read_parquet([{', '.join(map(sql_string, files))}], {options})"


def _read_folder(folder: str) -> str:
    """Return SQL that reads the files that a step's folder has at query time: block files and other part files."""
    rows = _read_parquet([f"{folder}/{blocks.PATTERN}"], f", filename = '{ROW_FILE}'")
    part = rf"try_cast(regexp_extract({ROW_FILE}, '/part-(\d+)\.parquet$', 1) AS BIGINT)"
    first = r"regexp_extract(file, '/parts-(\d+)-\d+\.parquet$', 1)::BIGINT"
    compacted = f"SELECT {first} // {blocks.BLOCK} FROM glob({sql_string(f'{folder}/{blocks.BLOCK_PATTERN}')})"
    is_single = f"coalesce({part} // {blocks.BLOCK}, -1) NOT IN ({compacted})"
    return f"(SELECT * EXCLUDE ({ROW_FILE}) FROM {rows} WHERE {is_single})"


def _select(table: str, columns: ViewColumns) -> str:
    """Return SQL that selects all rows; missing columns get their default in `ok` rows, else a typed null."""
    nulls = ", ".join(f"NULL::{sql_type(column.type)} AS {_quoted_name(column.name)}" for column in columns.schema)
    rows = f"SELECT {nulls} WHERE false UNION ALL BY NAME SELECT * FROM {table}"
    filled = ", ".join(
        f"CASE WHEN id IS NOT NULL THEN coalesce({_quoted_name(name)}, {default}) END AS {_quoted_name(name)}"
        for name, default in columns.defaults.items()
    )
    return f"SELECT * REPLACE ({filled}) FROM ({rows})" if filled else rows


def sql_type(arrow: pa.DataType) -> str:
    """Return DuckDB's name of an Arrow type."""
    if pa.types.is_struct(arrow):
        return f"STRUCT({', '.join(f'{_quoted_name(field.name)} {sql_type(field.type)}' for field in arrow.fields)})"
    if pa.types.is_list(arrow):
        return f"{sql_type(arrow.value_type)}[]"
    return SQL_TYPES[arrow]


def _quoted_name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def names(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of the views of a connection."""
    found = connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    return {name for (name,) in found if not name.startswith(FILES)}


def columns_by_view(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Return the columns of each view, with their types."""
    found: dict[str, dict[str, str]] = {name: {} for name in names(connection)}
    rows = connection.sql("SELECT table_name, column_name, data_type FROM duckdb_columns() ORDER BY column_index")
    for view, column, kind in rows.fetchall():
        if view in found:
            found[view][column] = kind
    return found


def query(connect: Callable[[], duckdb.DuckDBPyConnection], ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
    """Call `ask` with a connection; if files were compacted meanwhile, retry with a new connection."""
    for _ in range(ATTEMPTS - 1):
        with suppress(*FILE_GONE), connect() as connection:
            return ask(connection)
    with connect() as connection:
        return ask(connection)


def connect(
    root: str,
    manifests: Sequence[Manifest],
    shards: Mapping[str, str],
    damaged: list[Damaged] | None = None,
    checked: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB with all views. Object stores are read through Arrow, without a DuckDB extension.

    Parts that are too damaged for a view are left out and appended to `damaged`. checked: read every part first, so
    that no damaged part can fail a query later.
    """
    columns = _columns(manifests, shards)
    if not checked:
        files, before = sources(root, manifests, shards), None
        while files != before:  # files may be compacted before they are opened
            with suppress(duckdb.Error, pa.ArrowException, FileNotFoundError):
                return _connect_files(root, files, columns)
            files, before = sources(root, manifests, shards), files
    return _connect_files(root, sources(root, manifests, shards, [] if damaged is None else damaged), columns)


def connect_tables(manifests: Sequence[Manifest], tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB with these manifests' views over tables. tables: rows by the manifest's name."""
    connection = duckdb.connect()
    columns = _columns(manifests, ())
    show_tables(connection, tables)
    for statement in _view_statements({name: f"{FILES}{name}" for name in tables}, columns):
        connection.execute(statement)
    return connection


def show_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Replace the tables under the views by others of the same schemas."""
    for name, table in tables.items():
        connection.register(f"{FILES}{name}", table)


def _connect_files(
    root: str, files: Mapping[str, Sequence[str]], columns: Mapping[str, ViewColumns]
) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    tables = {name: _read_parquet(of) for name, of in files.items()}
    if not storage.is_local(root):
        tables = {name: f"{FILES}{name}" for name in files}
        for name, of in files.items():
            connection.register(tables[name], _stored_rows(of, columns[name].schema))
    for statement in _view_statements(tables, columns):
        connection.execute(statement)
    return connection


def _stored_rows(files: Sequence[str], columns: pa.Schema) -> StoredRows:
    return StoredRows([re.sub(r"\[([\[*?])\]", r"\1", file) for file in files], columns)


def write(root: str, manifests: Sequence[Manifest], shards: Mapping[str, str]) -> None:
    """Write `views.sql` and, for a local root, `manifest.duckdb`; both are replaced atomically.

    The views of steps show the parts that are committed at query time. `review` is a view if there are reviews.
    """
    columns, files = _columns(manifests, shards), sources(root, manifests, shards)
    stepwise = {
        m.name: _read_folder(literal_path(m.folder_uri))
        for m in manifests
        if m.name in files and not isinstance(m, SourceManifest)
    }
    try:
        _write(root, _view_statements({name: _read_parquet(of) for name, of in files.items()} | stepwise, columns))
    except duckdb.Error:
        files = sources(root, manifests, shards, [])
        _write(root, _view_statements({name: _read_parquet(of) for name, of in files.items()}, columns))


def _write(root: str, views: Sequence[str]) -> None:
    reviewed = review_statement(root)
    statements = movable_statements(root, [*views, *([reviewed] if reviewed else [])])
    advice = f"-- of a root that was moved: {setting('<its new place>')}; before these\n" if statements else ""
    storage.write_bytes(storage.join(root, SCRIPT), (advice + "".join(f"{s};\n" for s in statements)).encode())
    if not storage.is_local(root):
        return
    with tempfile.TemporaryDirectory() as folder:  # DuckDB cannot open a path with a `?`, which a root may have
        path = os.path.join(folder, DATABASE)
        with duckdb.connect(path) as connection:  # closing it writes the log into the file
            for statement in (setting(root), *statements):
                connection.execute(statement)
        storage.write_bytes(storage.join(root, DATABASE), Path(path).read_bytes())


def fetch_rows(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts by column. values: of its parameters."""
    answer = connection.execute(query, list(values))
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
