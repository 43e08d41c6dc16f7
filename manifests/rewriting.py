"""Replace the rows of committed parts. Each file is replaced atomically.

A part in a block file is replaced within that file; the file's other parts stay unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import pyarrow as pa

from manifests import storage
from manifests.blocks import BlockFile, BlockWriter, block_of, parts_of
from manifests.counts import OK, Counts
from manifests.ledger import Manifest
from manifests.parquet_files import PartFacts, parquet_bytes
from manifests.records import Outcome
from manifests.row_digest import digest_rows


def rewrite_parts(manifest: Manifest, tables: Mapping[int, pa.Table]) -> None:
    """Replace the rows of committed parts. tables: the new rows by part, in the part's schema.

    Raises Damaged if the block file of a part cannot be read.
    """
    by_block: dict[BlockFile, dict[int, pa.Table]] = defaultdict(dict)
    for part, table in tables.items():
        by_block[block_of(manifest.folder_uri, part)][part] = with_facts(table)
    for block, changed in by_block.items():
        if block.exists():
            storage.write_bytes(block.uri, _block_bytes(block, changed))
        else:
            for part, table in changed.items():
                storage.write_bytes(block.part_uri(part), parquet_bytes(table))


def remove_unread(manifest: Manifest, parts: Iterable[int]) -> None:
    """Delete the files of these parts whose rows are in a block file: no reader uses them."""
    for part in parts:
        block = block_of(manifest.folder_uri, part)
        if storage.exists(block.part_uri(part)) and block.exists():
            storage.remove(block.part_uri(part))


def _block_bytes(block: BlockFile, changed: Mapping[int, pa.Table]) -> bytes:
    tables = {**dict(block.read_all()), **changed}
    schemas = [table.schema.remove_metadata() for table in tables.values()]
    writer = BlockWriter(pa.unify_schemas(schemas, promote_options="permissive"))
    for part in parts_of(block.number):
        writer.add(tables[part], PartFacts.from_metadata(tables[part].schema.metadata))
    return writer.close()


def with_facts(table: pa.Table) -> pa.Table:
    """Return a part's rows with their counts and digest as metadata, as the file's footer holds them."""
    plain = table.replace_schema_metadata(None)
    facts = PartFacts(Counts.from_outcomes(_outcomes(plain)), digest_rows(plain))
    return plain.replace_schema_metadata(facts.metadata)


def _outcomes(table: pa.Table) -> Iterator[Outcome]:
    """Yield outcomes for counting: numbers stand in for the records."""
    columns = ["input", "status", "seconds", "reason"]
    for name, group in groupby(table.select(columns).to_pylist(), key=lambda row: str(row["input"])):
        rows = list(group)
        status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
        yield Outcome(name, status, seconds, tuple(range(len(rows))) if status == OK else (), rows[0]["reason"])
