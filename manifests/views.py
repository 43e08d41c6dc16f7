"""DuckDB over the manifests: a view a step, in memory here and in `<root>/manifest.duckdb` for everybody else.

connection = connect(root, manifests)
connection.sql("SELECT status, count(*) FROM split GROUP BY ALL")

The view of a step has all columns of its record. Rows that were written before the record had a column hold the
default of its field there; fields that were added within nested records are null.
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
from manifests.ledger import Damaged, Manifest
from manifests.moved_root import DATABASE, literal_path, movable, quoted, setting
from manifests.parquet_files import read_undamaged
from manifests.records import PackedTask
from manifests.schema import record_schema
from manifests.sources import SourceManifest
from manifests.stored_rows import StoredRows

SCRIPT = "views.sql"
ROW_FILE = "file_of_row"  # a column that views read and do not show
FILES = "files_of_"  # how the name of a store's files begins, over which a view is made
ATTEMPTS = 3  # of a query whose files are replaced while it runs
FILE_GONE = (duckdb.IOException, duckdb.InvalidInputException)  # what DuckDB raises then; also for other reasons
T = TypeVar("T")
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}


def sources(
    root: str, manifests: Iterable[Manifest], shards: Mapping[str, str], damaged: list[Damaged] | None = None
) -> dict[str, list[str]]:
    """Name of each view, with the Parquet files it reads; what has no file yet has no view.

    `shards` maps a stage to its shard set's folder below the root. damaged: where it is given, every file is read
    first; those that cannot be read are put there and left out.
    """
    found = {}
    for manifest in manifests:
        folder = literal_path(manifest.folder_uri)
        names = manifest.file_names() if damaged is None else _undamaged(manifest, damaged)
        found[manifest.name] = [f"{folder}/{name}" for name in names]
    for stage, folder in shards.items():
        path = storage.join(root, folder, "shards.parquet")
        if storage.exists(path) and (damaged is None or _can_be_read(path, damaged)):
            found[f"shards_{stage}"] = [literal_path(path)]
    return {name: files for name, files in found.items() if files}


def _undamaged(manifest: Manifest, damaged: list[Damaged]) -> list[str]:
    """Names of the files of a manifest that can be read whole."""
    faults: list[Damaged] = []
    try:
        names = manifest.file_names()
        found = [name for name in names if _can_be_read(storage.join(manifest.folder_uri, name), faults)]
    except FileNotFoundError:  # compacted meanwhile
        return _undamaged(manifest, damaged)
    damaged += faults
    return found


def _can_be_read(uri: str, damaged: list[Damaged]) -> bool:
    """Read a file; if it is damaged, put that into `damaged`."""
    try:
        read_undamaged(uri)
    except Damaged as damage:
        damaged.append(damage)
        return False
    return True


@dataclass(frozen=True)
class Columns:
    """The columns that a view must have. defaults: SQL of the values that `ok` rows without them hold, by name."""

    schema: pa.Schema
    defaults: Mapping[str, str]


def columns_of(record: type, schema: pa.Schema) -> Columns:
    """The columns of a view of these records, stored with this schema."""
    known = {field.name: field.default for field in fields(record) if field.default is not MISSING}
    literals = {name: _literal(value) for name, value in known.items()}
    return Columns(schema, {name: text for name, text in literals.items() if text is not None})


def _literal(value: Any) -> str | None:
    """A field's default in SQL; None for null, and for records."""
    if isinstance(value, tuple):
        inner = [_literal(each) for each in value]
        return None if None in inner else f"[{', '.join(map(str, inner))}]"
    if value is None or is_dataclass(value):
        return None
    return quoted(value) if isinstance(value, str) else str(value)


def _columns(manifests: Iterable[Manifest], shards: Iterable[str]) -> dict[str, Columns]:
    """What each view must have, by the view's name."""
    found = {manifest.name: columns_of(manifest.record, manifest.schema) for manifest in manifests}
    packed = columns_of(PackedTask, record_schema(PackedTask))
    return found | {f"shards_{stage}": packed for stage in shards}


def _views(tables: Mapping[str, str], columns: Mapping[str, Columns]) -> list[str]:
    made = [f"CREATE OR REPLACE VIEW {name} AS {_select(table, columns[name])}" for name, table in tables.items()]
    stages = [name for name in tables if name.startswith("shards_")]
    if stages:
        union = " UNION ALL BY NAME ".join(f"SELECT * FROM {name}" for name in stages)
        made.append(f"CREATE OR REPLACE VIEW shards AS {union}")
    return made


def _read_parquet(files: Sequence[str], more: str = "") -> str:
    # a folder above the root may be called `width=640`: that is no column
    options = f"union_by_name = true, hive_partitioning = false{more}"
    return f"read_parquet([{', '.join(map(quoted, files))}], {options})"


def _read_folder(folder: str) -> str:
    """Make SQL that reads a step's folder as it is when queried: block files, and part files without a block file."""
    rows = _read_parquet([f"{folder}/{blocks.PATTERN}"], f", filename = '{ROW_FILE}'")
    part = rf"try_cast(regexp_extract({ROW_FILE}, '/part-(\d+)\.parquet$', 1) AS BIGINT)"
    first = r"regexp_extract(file, '/parts-(\d+)-\d+\.parquet$', 1)::BIGINT"
    compacted = f"SELECT {first} // {blocks.BLOCK} FROM glob({quoted(f'{folder}/{blocks.BLOCK_PATTERN}')})"
    is_single = f"coalesce({part} // {blocks.BLOCK}, -1) NOT IN ({compacted})"
    return f"(SELECT * EXCLUDE ({ROW_FILE}) FROM {rows} WHERE {is_single})"


def _select(table: str, columns: Columns) -> str:
    """All rows of a table; columns that it lacks hold their default in `ok` rows, and else null of their type."""
    nulls = ", ".join(f"NULL::{sql_type(column.type)} AS {_name(column.name)}" for column in columns.schema)
    rows = f"SELECT {nulls} WHERE false UNION ALL BY NAME SELECT * FROM {table}"
    filled = ", ".join(
        f"CASE WHEN id IS NOT NULL THEN coalesce({_name(name)}, {default}) END AS {_name(name)}"
        for name, default in columns.defaults.items()
    )
    return f"SELECT * REPLACE ({filled}) FROM ({rows})" if filled else rows


def sql_type(arrow: pa.DataType) -> str:
    """DuckDB's name of a type that records are stored with."""
    if pa.types.is_struct(arrow):
        return f"STRUCT({', '.join(f'{_name(field.name)} {sql_type(field.type)}' for field in arrow.fields)})"
    if pa.types.is_list(arrow):
        return f"{sql_type(arrow.value_type)}[]"
    return SQL_TYPES[arrow]


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def names(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the views that a connection has."""
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
    """Ask a connection. Where files were compacted before they were read, ask a new one."""
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
    """An in-memory DuckDB with all views; object stores are read through Arrow, so no extension is fetched.

    Parts whose damage keeps a view from being made are left out, and put into `damaged`. checked: every part is read
    first, so that none that is damaged within fails a query later.
    """
    columns = _columns(manifests, shards)
    if not checked:
        files, before = sources(root, manifests, shards), None
        while files != before:  # some may have been compacted before they were opened
            with suppress(duckdb.Error, pa.ArrowException, FileNotFoundError):
                return _connected(root, files, columns)
            files, before = sources(root, manifests, shards), files
    return _connected(root, sources(root, manifests, shards, [] if damaged is None else damaged), columns)


def of_tables(manifests: Sequence[Manifest], tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB with the views of these manifests over tables of their rows, by name."""
    connection = duckdb.connect()
    columns = _columns(manifests, ())
    show_tables(connection, tables)
    for statement in _views({name: f"{FILES}{name}" for name in tables}, columns):
        connection.execute(statement)
    return connection


def show_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Put other tables, of the same schemas, in the places of those that the views show."""
    for name, table in tables.items():
        connection.register(f"{FILES}{name}", table)


def _connected(
    root: str, files: Mapping[str, Sequence[str]], columns: Mapping[str, Columns]
) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    tables = {name: _read_parquet(of) for name, of in files.items()}
    if not storage.is_local(root):
        tables = {name: f"{FILES}{name}" for name in files}
        for name, of in files.items():
            connection.register(tables[name], _stored(of, columns[name].schema))
    for statement in _views(tables, columns):
        connection.execute(statement)
    return connection


def _stored(files: Sequence[str], columns: pa.Schema) -> StoredRows:
    return StoredRows([re.sub(r"\[([\[*?])\]", r"\1", file) for file in files], columns)


def write(root: str, manifests: Sequence[Manifest], shards: Mapping[str, str]) -> None:
    """Write `views.sql`, and for a local root `manifest.duckdb`: each replaces the one before at once.

    The views of steps have the parts that are committed when they are queried.
    """
    columns, files = _columns(manifests, shards), sources(root, manifests, shards)
    stepwise = {
        m.name: _read_folder(literal_path(m.folder_uri))
        for m in manifests
        if m.name in files and not isinstance(m, SourceManifest)
    }
    try:
        _write(root, _views({name: _read_parquet(of) for name, of in files.items()} | stepwise, columns))
    except duckdb.Error:
        files = sources(root, manifests, shards, [])
        _write(root, _views({name: _read_parquet(of) for name, of in files.items()}, columns))


def _write(root: str, views: Sequence[str]) -> None:
    made = movable(root, views)
    advice = f"-- of a root that was moved: {setting('<its new place>')}; before these\n" if made else ""
    storage.write_bytes(storage.join(root, SCRIPT), (advice + "".join(f"{s};\n" for s in made)).encode())
    if not storage.is_local(root):
        return
    with tempfile.TemporaryDirectory() as folder:  # DuckDB takes no file whose path has a `?`, as a root's may
        path = os.path.join(folder, DATABASE)
        with duckdb.connect(path) as connection:  # its end writes its log into the file
            for statement in (setting(root), *made):
                connection.execute(statement)
        storage.write_bytes(storage.join(root, DATABASE), Path(path).read_bytes())
