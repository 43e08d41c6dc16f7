"""DuckDB over the manifests: a view a step, in memory here and in `<root>/manifest.duckdb` for everybody else.

connection = connect(root, manifests)
connection.sql("SELECT status, count(*) FROM split GROUP BY ALL")
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from manifests import storage
from manifests.ledger import PART, Damaged, Manifest
from manifests.schema import record_schema
from manifests.sources import SourceManifest

DATABASE, SCRIPT = "manifest.duckdb", "views.sql"


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def literal_path(path: str) -> str:
    """`path` with the characters that DuckDB's globs give a meaning made plain."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def sources(
    root: str, manifests: Iterable[Manifest], shards: Mapping[str, str], damaged: list[Damaged] | None = None
) -> dict[str, list[str]]:
    """Name of each view, with the globs of Parquet files it reads; what has no file yet has no view.

    `shards` maps a stage to its shard set's folder below the root. damaged: where it is given, every part is read
    first; those that cannot be read are put there and left out.
    """
    found = {}
    for manifest in manifests:
        folder = literal_path(storage.join(root, manifest.folder))
        names = [manifest.pattern()] if damaged is None else _undamaged(manifest, damaged)
        found[manifest.name] = [f"{folder}/{name}" for name in names if name]
    for stage, folder in shards.items():
        path = storage.join(root, folder, "shards.parquet")
        if storage.exists(path):
            found[f"shards_{stage}"] = [literal_path(path)]
    return {name: globs for name, globs in found.items() if globs}


def _undamaged(manifest: Manifest, damaged: list[Damaged]) -> list[str | None]:
    """Names of the files of a manifest that can be read whole."""
    if isinstance(manifest, SourceManifest):
        return [manifest.pattern()]
    found: list[str | None] = []
    for part in sorted(manifest.committed()):
        try:
            manifest.read(part)
        except Damaged as damage:
            damaged.append(damage)
        else:
            found.append(manifest.path(part).rpartition("/")[2])
    return found


def statements(globs: Mapping[str, Sequence[str]]) -> list[str]:
    """The SQL that makes the views; `shards` is all stages together."""
    # a folder above the root may be called `width=640`: that is no column
    options = "union_by_name = true, hive_partitioning = false"
    files = {name: ", ".join(map(quoted, of)) for name, of in globs.items()}
    made = [
        f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{of}], {options})" for name, of in files.items()
    ]
    stages = [name for name in globs if name.startswith("shards_")]
    if stages:
        union = " UNION ALL ".join(f"SELECT * FROM {name}" for name in stages)
        made.append(f"CREATE OR REPLACE VIEW shards AS {union}")
    return made


def names(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the views that a connection has."""
    found = connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    return {name for (name,) in found}


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
    if not checked:
        with suppress(duckdb.Error, pa.ArrowException):
            return _completed(_connected(root, sources(root, manifests, shards)), manifests)
    globs = sources(root, manifests, shards, [] if damaged is None else damaged)
    return _completed(_connected(root, globs), manifests)


def _connected(root: str, globs: Mapping[str, Sequence[str]]) -> duckdb.DuckDBPyConnection:
    connection, made = duckdb.connect(), statements(globs)
    if not storage.is_local(root):
        for name, of in globs.items():
            connection.register(name, _dataset(of))
        made = made[len(globs) :]
    for statement in made:
        connection.execute(statement)
    return connection


def _completed(connection: duckdb.DuckDBPyConnection, manifests: Sequence[Manifest]) -> duckdb.DuckDBPyConnection:
    """The connection, whose views have every column of their records: of rows of earlier releases, nulls."""
    made = names(connection)
    for manifest in manifests:
        name = manifest.name
        if name not in made:
            continue
        there = {column for (column, *_) in connection.sql(f"DESCRIBE {name}").fetchall()}
        schema = record_schema(manifest.record)
        if lacking := [field for field in schema if field.name not in there]:
            empty = pa.schema(lacking).empty_table()  # noqa: F841  DuckDB finds it by its name
            connection.execute(f"CREATE TEMP TABLE {name}_lacking AS SELECT * FROM empty")
            connection.execute(f"ALTER VIEW {name} RENAME TO {name}_there")
            union = f"SELECT * FROM {name}_there UNION ALL BY NAME SELECT * FROM {name}_lacking"
            connection.execute(f"CREATE TEMP VIEW {name} AS {union}")
    return connection


def _dataset(globs: Sequence[str]) -> object:
    import pyarrow.dataset

    folder = re.sub(r"\[([\[*?])\]", r"\1", globs[0].rpartition("/")[0])
    wanted = [glob.rpartition("/")[2] for glob in globs]
    names = wanted if "*" not in wanted[0] else [e.path for e in storage.listing(folder) if PART.fullmatch(e.path)]
    filesystem, path = storage.resolve(folder)
    return pyarrow.dataset.dataset([f"{path}/{name}" for name in names], filesystem=filesystem, format="parquet")


def write(root: str, manifests: Sequence[Manifest], shards: Mapping[str, str]) -> None:
    """Write `views.sql`, and for a local root `manifest.duckdb`: each replaces the one before at once."""
    try:
        _write(root, statements(sources(root, manifests, shards)))
    except duckdb.Error:
        _write(root, statements(sources(root, manifests, shards, [])))


def _write(root: str, made: Sequence[str]) -> None:
    storage.write_bytes(storage.join(root, SCRIPT), ("".join(f"{s};\n" for s in made)).encode())
    if not storage.is_local(root):
        return
    with tempfile.TemporaryDirectory() as folder:  # DuckDB takes no file whose path has a `?`, as a root's may
        path = os.path.join(folder, DATABASE)
        with duckdb.connect(path) as connection:  # its end writes its log into the file
            for statement in made:
                connection.execute(statement)
        storage.write_bytes(storage.join(root, DATABASE), Path(path).read_bytes())
