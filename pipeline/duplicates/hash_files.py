"""Files of fingerprints alone, which may be shared where the videos may not: written and read here.

A file is Parquet: a row per clip, with the columns of `Fingerprint` and the name of its video's file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.blocks import BLOCK, BlockFile, parts_of
from manifests.ledger import Damaged, Manifest, parquet_bytes
from pipeline.duplicates.fingerprints import COLUMNS
from pipeline.errors import ConfigError

FACTS = b"ola.hashes"  # in the footer
VERSION = 1  # of the hashes: those of another version cannot be compared


def rows_of(manifest: Manifest) -> pa.Table:
    """Read the fingerprints of all committed parts of a step, in the order of parts, with the column `part`.

    Parts that are damaged are left out: pack reports them.
    """
    tables = [manifest.schema.empty_table().select(COLUMNS).append_column("part", pa.array([], pa.int64()))]
    for part, table in _read_parts(manifest):
        rows = table.filter(pc.equal(table["status"], "ok")).select(COLUMNS).replace_schema_metadata()
        tables.append(rows.append_column("part", pa.array([part] * len(rows), pa.int64())))
    return pa.concat_tables(tables)


def _read_parts(manifest: Manifest) -> Iterator[tuple[int, pa.Table]]:
    files = manifest.listed()
    for number in sorted({part // BLOCK for part in files.committed()}):
        with suppress(Damaged):
            if number in files.blocks:
                yield from sorted(BlockFile(manifest.folder_uri, number).read_all(), key=lambda found: found[0])
                continue
        for part in parts_of(number):
            if number not in files.blocks and part in files.parts:
                with suppress(Damaged):
                    yield part, manifest.read(part)


def write_hashes(uri: str, rows: pa.Table, names: list[str]) -> None:
    """Write a hash file. names: of each row's video."""
    table = rows.append_column("name", pa.array(names, pa.string()))
    storage.write_bytes(uri, parquet_bytes(table.replace_schema_metadata({FACTS: json.dumps({"version": VERSION})})))


def read_hashes(uri: str) -> pa.Table:
    """Read a hash file. Raises ConfigError if the file cannot be read or compared."""
    try:
        with storage.open_random(uri) as file:
            table = pq.read_table(file)
        version = json.loads((table.schema.metadata or {})[FACTS])["version"]
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise ConfigError(
            f"{uri}: expected a file of `ola hashes`, got something else ({type(error).__name__})"
        ) from error
    if version != VERSION:
        raise ConfigError(f"{uri}: expected hashes of version {VERSION}, got {version}; make the file again")
    return table
