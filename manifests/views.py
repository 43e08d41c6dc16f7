"""DuckDB over the manifests: a view a step, in memory here and in `<root>/manifest.duckdb` for everybody else.

connection = connect(root, manifests)
connection.sql("SELECT status, count(*) FROM split GROUP BY ALL")

The view of a step has all columns of its record: null in rows that were written before the record had them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from manifests import storage
from manifests.ledger import Manifest
from manifests.schema import manifest_schema

DATABASE, SCRIPT = "manifest.duckdb", "views.sql"
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def literal_path(path: str) -> str:
    """`path` with the characters that DuckDB's globs give a meaning made plain."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def sources(root: str, manifests: Iterable[Manifest], shards: Mapping[str, str]) -> dict[str, str]:
    """Name of each view, with the glob of Parquet files it reads; what has no file yet has no view.

    `shards` maps a stage to its shard set's folder below the root.
    """
    globs = {
        manifest.name: f"{literal_path(storage.join(root, manifest.folder))}/{pattern}"
        for manifest in manifests
        if (pattern := manifest.pattern())
    }
    for stage, folder in shards.items():
        path = storage.join(root, folder, "shards.parquet")
        if storage.exists(path):
            globs[f"shards_{stage}"] = literal_path(path)
    return globs


def schemas(manifests: Iterable[Manifest]) -> dict[str, pa.Schema]:
    """The columns that each manifest's view must have, by the view's name."""
    return {manifest.name: manifest_schema(manifest.record) for manifest in manifests}


def statements(globs: Mapping[str, str], columns: Mapping[str, pa.Schema]) -> list[str]:
    """The SQL that makes the views; `shards` is all stages together."""
    made = [f"CREATE OR REPLACE VIEW {name} AS {_select(glob, columns.get(name))}" for name, glob in globs.items()]
    stages = [name for name in globs if name.startswith("shards_")]
    if stages:
        union = " UNION ALL ".join(f"SELECT * FROM {name}" for name in stages)
        made.append(f"CREATE OR REPLACE VIEW shards AS {union}")
    return made


def _select(glob: str, columns: pa.Schema | None) -> str:
    """All rows of the files; what no file has of the columns is null, of its type."""
    rows = f"SELECT * FROM read_parquet({quoted(glob)}, union_by_name = true)"
    if columns is None:
        return rows
    nulls = ", ".join(f"NULL::{sql_type(column.type)} AS {_name(column.name)}" for column in columns)
    return f"SELECT {nulls} WHERE false UNION ALL BY NAME {rows}"


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
    return {name for (name,) in found}


def connect(root: str, manifests: Iterable[Manifest], shards: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with all views; object stores are read through Arrow, so no extension is fetched."""
    manifests = list(manifests)
    globs, columns = sources(root, manifests, shards), schemas(manifests)
    connection = duckdb.connect()
    if storage.is_local(root):
        for statement in statements(globs, columns):
            connection.execute(statement)
        return connection
    for name, glob in globs.items():
        connection.register(name, _dataset(glob, columns.get(name)))
    for statement in statements(globs, columns)[len(globs) :]:
        connection.execute(statement)
    return connection


def _dataset(glob: str, columns: pa.Schema | None) -> object:
    import pyarrow.dataset

    folder, pattern = glob.rsplit("/", 1)
    folder = re.sub(r"\[([\[*?])\]", r"\1", folder)
    names = [e.path for e in storage.listing(folder) if e.path == pattern or re.match(r"part-\d+\.parquet$", e.path)]
    filesystem, path = storage.resolve(folder)
    paths = [f"{path}/{name}" for name in names]
    return pyarrow.dataset.dataset(paths, schema=columns, filesystem=filesystem, format="parquet")


def write(root: str, manifests: Iterable[Manifest], shards: Mapping[str, str]) -> None:
    """Write `views.sql`, and for a local root `manifest.duckdb`: each replaces the one before at once."""
    manifests = list(manifests)
    made = statements(sources(root, manifests, shards), schemas(manifests))
    storage.write_bytes(storage.join(root, SCRIPT), ("".join(f"{s};\n" for s in made)).encode())
    if not storage.is_local(root):
        return
    with tempfile.TemporaryDirectory() as folder:  # DuckDB takes no file whose path has a `?`, as a root's may
        path = os.path.join(folder, DATABASE)
        connection = duckdb.connect(path)
        for statement in made:
            connection.execute(statement)
        connection.close()  # which writes its log into the file
        storage.write_bytes(storage.join(root, DATABASE), Path(path).read_bytes())
