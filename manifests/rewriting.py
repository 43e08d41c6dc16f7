"""Other rows for parts that are committed, in the place of those that they have. Every file is replaced at once.

A part in a block file is replaced within that file, whose other parts stay as they are.
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
    """Replace the rows of committed parts. tables: the new rows by part, with the schema that the part has.

    Raises Damaged where the block file of a part cannot be read.
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
    """Delete the files of these parts that lie beside a block file, and that nobody reads."""
    for part in parts:
        block = block_of(manifest.folder_uri, part)
        if storage.exists(block.part_uri(part)) and block.exists():
            storage.remove(block.part_uri(part))


def _block_bytes(block: BlockFile, changed: Mapping[int, pa.Table]) -> bytes:
    held = {**dict(block.read_all()), **changed}
    schemas = [table.schema.remove_metadata() for table in held.values()]
    writer = BlockWriter(pa.unify_schemas(schemas, promote_options="permissive"))
    for part in parts_of(block.number):
        writer.add(held[part], PartFacts.of(held[part].schema.metadata))
    return writer.close()


def with_facts(table: pa.Table) -> pa.Table:
    """Return a part's rows with their counts and their digest, which its file carries in the footer."""
    plain = table.replace_schema_metadata(None)
    facts = PartFacts(Counts.of(_outcomes(plain)), digest_rows(plain))
    return plain.replace_schema_metadata(facts.metadata)


def _outcomes(table: pa.Table) -> Iterator[Outcome]:
    """Make outcomes that are enough to count: the records are numbers in their place."""
    columns = ["input", "status", "seconds", "reason"]
    for name, group in groupby(table.select(columns).to_pylist(), key=lambda row: str(row["input"])):
        rows = list(group)
        status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
        yield Outcome(name, status, seconds, tuple(range(len(rows))) if status == OK else (), rows[0]["reason"])
