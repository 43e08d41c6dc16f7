"""DuckDB over the manifests: a view a step, in memory here and in `<root>/manifest.duckdb` for everybody else.

connection = connect(root, manifests)
connection.sql("SELECT status, count(*) FROM split GROUP BY ALL")
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from manifests import storage
from manifests.ledger import Manifest

DATABASE, SCRIPT = "manifest.duckdb", "views.sql"


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


def statements(globs: Mapping[str, str]) -> list[str]:
    """The SQL that makes the views; `shards` is all stages together."""
    made = [
        f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({quoted(glob)}, union_by_name = true)"
        for name, glob in globs.items()
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


def connect(root: str, manifests: Iterable[Manifest], shards: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with all views; object stores are read through Arrow, so no extension is fetched."""
    globs = sources(root, manifests, shards)
    connection = duckdb.connect()
    if storage.is_local(root):
        for statement in statements(globs):
            connection.execute(statement)
        return connection
    for name, glob in globs.items():
        connection.register(name, _dataset(glob))
    for statement in statements(globs)[len(globs) :]:
        connection.execute(statement)
    return connection


def _dataset(glob: str) -> object:
    import pyarrow.dataset

    folder, pattern = glob.rsplit("/", 1)
    folder = re.sub(r"\[([\[*?])\]", r"\1", folder)
    names = [e.path for e in storage.listing(folder) if e.path == pattern or re.match(r"part-\d+\.parquet$", e.path)]
    filesystem, path = storage.resolve(folder)
    return pyarrow.dataset.dataset([f"{path}/{name}" for name in names], filesystem=filesystem, format="parquet")


def write(root: str, manifests: Iterable[Manifest], shards: Mapping[str, str]) -> None:
    """Write `views.sql`, and for a local root `manifest.duckdb`: each replaces the one before at once."""
    made = statements(sources(root, manifests, shards))
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
