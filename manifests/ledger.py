"""The ledger of parts: the committed rows of each step, and the law that every input has an outcome.

A `Manifest` is the committed rows of one step: a folder `<NN-step>-<key>` with one Parquet file per part. The file of a
part is written last and atomically: if it exists, the part is committed. Its footer holds the part's counts, so that
progress and the funnel need not read rows. Compaction later joins 64 parts in a block file, see `manifests.blocks`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import pyarrow as pa

from manifests import block_cache, blocks, known_parts, object_store, storage
from manifests.blocks import PART, BlockFile, PartFiles
from manifests.counts import DROPPED, FAILED, OK, Counts
from manifests.parquet_files import (
    FOOTER,
    ROWS_FOOTER,
    Damaged,
    PartFacts,
    one_line,
    parquet_bytes,
    read_facts,
    read_parquet,
    read_undamaged,
)
from manifests.records import Outcome
from manifests.row_digest import digest_rows
from manifests.schema import from_rows, manifest_schema, to_table

# includes names of `counts`, `blocks` and `parquet_files`, for readers of manifests
__all__ = [
    "DROPPED",
    "FAILED",
    "FOOTER",
    "OK",
    "PART",
    "ROWS_FOOTER",
    "Counts",
    "Damaged",
    "LawBroken",
    "Manifest",
    "check_law",
    "digest",
    "one_line",
    "parquet_bytes",
    "read_parquet",
]

KEY_DIGITS = 12
T = TypeVar("T")
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)  # of digests; made once


class LawBroken(RuntimeError):
    """A step gave no outcome for an input, or an outcome for an id that was no input."""


def digest(facts: Any, digits: int = KEY_DIGITS) -> str:
    """Return a hex digest of a JSON value; equal values give equal digests on every machine."""
    return hashlib.sha256(ENCODER.encode(facts).encode()).hexdigest()[:digits]


def check_law(name: str, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """Raise LawBroken unless every input has exactly one outcome, and `ok` ones have rows."""
    expected, answered = Counter(inputs), Counter(outcome.input for outcome in outcomes)
    if expected != answered:
        lost, strange = expected - answered, answered - expected
        raise LawBroken(f"step '{name}': inputs without a row: {sorted(lost)[:5]}; rows without an input: "
                        f"{sorted(strange)[:5]}")  # fmt: skip
    for outcome in outcomes:
        if (outcome.status == OK) != bool(outcome.records):
            raise LawBroken(f"step '{name}': input {outcome.input} is {outcome.status} with {outcome.records!r}")


BlockFacts = dict[int, PartFacts] | Damaged | None  # of a block file; its damage; None if there is no such file


@dataclass(frozen=True)
class Manifest:
    """The committed rows of one step of one run."""

    root: str
    number: int
    name: str
    key: str
    record: type

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return manifest_schema(self.record)

    @property
    def folder(self) -> str:
        """Return the folder's name below the root, such as `02-split-1a2b3c`."""
        return f"{self.number:02d}-{self.name}" + (f"-{self.key}" if self.key else "")

    @property
    def folder_uri(self) -> str:
        """Return the folder's full URI."""
        return storage.join(self.root, self.folder)

    def path(self, part: int, suffix: str = "parquet") -> str:
        """Return the path of a part's file below the root."""
        return f"{self.folder}/{blocks.part_name(part, suffix)}"

    def uri(self, part: int, suffix: str = "parquet") -> str:
        """Return the full URI of a part's file."""
        return storage.join(self.root, self.path(part, suffix))

    def block(self, part: int) -> BlockFile:
        """Return the block file that holds a part once it is compacted."""
        return blocks.block_of(self.folder_uri, part)

    def file_names(self) -> list[str]:
        """Return the names of the files that hold the committed rows, in the order of parts."""
        return blocks.part_files(self.folder_uri).names()

    def committed(self) -> dict[int, int]:
        """Return the size in bytes of each committed part's file, or its share of a block file, by part."""
        return blocks.part_files(self.folder_uri).committed()

    def has(self, part: int) -> bool:
        """Return whether a part is committed."""
        return storage.exists(self.uri(part)) or self.block(part).exists()

    def commit(self, part: int, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> bool:
        """Write the part's rows in the order of its inputs, unless the part is committed.

        Returns whether the part now has these rows. Raises LawBroken before anything is written.
        """
        return self.commit_rows(part, self.rows(inputs, outcomes))

    def rows(self, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> pa.Table:
        """Return the rows of a part in the order of its inputs, with its facts as metadata. Raises LawBroken."""
        check_law(self.name, inputs, outcomes)
        place = {name: n for n, name in enumerate(inputs)}
        ordered = sorted(outcomes, key=lambda outcome: place[outcome.input])
        table = to_table(self.record, ordered)
        return table.replace_schema_metadata(PartFacts(Counts.from_outcomes(outcomes), digest_rows(table)).metadata)

    def commit_rows(self, part: int, table: pa.Table, may_be_compacted: bool = True) -> bool:
        """Write a table made by `rows`, unless the part is committed. Return whether the part now has these rows.

        may_be_compacted: also check for a block file; if one exists, its rows count.
        """
        uri, data = self.uri(part), parquet_bytes(table)
        if object_store.holds(uri):
            version = object_store.create_version(uri, data)
            is_written = version is not None
            stamp = (version or {}).get("e_tag") or ""
            known_parts.remember_facts(uri, stamp, PartFacts.from_metadata(table.schema.metadata))
            known_parts.remember_bytes(uri, stamp, data)
        else:
            is_written = storage.create(uri, data)
        return is_written and not (may_be_compacted and self.block(part).exists())

    def remove(self, part: int) -> None:
        """Delete a committed part. Raises Damaged if the block file that holds the part cannot be read."""
        blocks.remove_part(self.folder_uri, part)

    def read(self, part: int) -> pa.Table:
        """Read all rows of a committed part. Raises Damaged, or OSError if the store does not answer."""
        return self._read_part(part, self.block(part).read, lambda part: read_undamaged(self.uri(part)))

    def listed(self) -> PartFiles:
        """List the files that hold the committed rows, by one request."""
        return blocks.part_files(self.folder_uri)

    def read_listed(self, part: int, files: PartFiles) -> pa.Table:
        """Read all rows of a part. files: a listing, which saves the request for a block file that does not exist."""
        block = self.block(part)
        is_compacted = block.number in files.blocks
        stamp = files.stamps.get(blocks.block_name(block.number) if is_compacted else blocks.part_name(part))
        if stamp is None or not object_store.holds(self.root):
            return self.read(part)
        if is_compacted:
            return block_cache.read_part(block, part, stamp)
        table = known_parts.read_rows(self.uri(part), stamp)
        return self.read(part) if table is None else table

    def counts(self, part: int) -> Counts:
        """Read the counts of a committed part from a footer."""
        return self._read_facts(part).counts

    def rows_digest(self, part: int) -> str:
        """Return the digest of a committed part's rows without timings, from the footer if it holds one."""
        # by way of outcomes, so that fields missing in an older part get their defaults
        return self._read_facts(part).digest or digest_rows(to_table(self.record, self.outcomes(part)))

    def outcomes(self, part: int) -> Iterator[Outcome]:
        """Yield the outcomes of a committed part."""
        for name, group in groupby(self.read(part).to_pylist(), key=lambda row: str(row["input"])):
            rows = list(group)
            status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
            records = tuple(from_rows(self.record, rows)) if status == OK else ()
            yield Outcome(name, status, seconds, records, rows[0]["reason"], rows[0]["detail"])

    def _read_facts(self, part: int) -> PartFacts:
        return self._read_part(
            part, lambda part: self.block(part).facts()[part], lambda part: read_facts(self.uri(part))
        )

    def _read_part(self, part: int, in_block: Callable[[int], T], in_file: Callable[[int], T]) -> T:
        """Call `in_block` if the part is in a block file, else `in_file`. Raises FileNotFoundError."""
        for read in (in_block, in_file) * 2:  # a run may compact or reopen the part between the two calls
            with suppress(FileNotFoundError):
                return read(part)
        raise FileNotFoundError(2, "no such part", self.uri(part))

    def part_counts(self) -> dict[int, Counts | Damaged]:
        """Return the counts of every committed part, or the error of a damaged one."""
        return self.more_counts(())

    def more_counts(self, known_parts: Collection[int], limit: int | None = None) -> dict[int, Counts | Damaged]:
        """Return the counts (or the damage) of committed parts that are not in `known_parts`, at most `limit` parts.

        Makes one listing, and reads each block file's footer once and those part files' footers that are not cached.
        """
        files = blocks.part_files(self.folder_uri)
        return self._count_parts(files, [part for part in files.committed() if part not in known_parts][:limit])

    def counts_of(self, parts: Sequence[int]) -> dict[int, Counts | Damaged]:
        """Return the counts of these committed parts, or their damage; see `more_counts`."""
        return self._count_parts(blocks.part_files(self.folder_uri), parts)

    def _count_parts(self, files: PartFiles, parts: Sequence[int]) -> dict[int, Counts | Damaged]:
        known = known_parts.known_facts(self.folder_uri, files.uncompacted())
        with ThreadPoolExecutor(blocks.AT_ONCE) as pool:
            block_numbers = sorted({part // blocks.BLOCK for part in parts} & files.blocks.keys())
            facts_by_block = dict(zip(block_numbers, pool.map(self._block_facts, block_numbers), strict=True))

            def counts(part: int) -> Counts | Damaged:
                name = blocks.part_name(part)
                if name in known:
                    return known[name].counts
                return self._counts_or_damage(
                    part, facts_by_block.get(part // blocks.BLOCK), files.stamps.get(name, "")
                )

            return dict(zip(parts, pool.map(counts, parts), strict=True))

    def write_facts(self) -> None:
        """Write the facts of the part files that are not compacted to `facts.json`, for later readers of the run."""
        known_parts.write_summary(self.folder_uri, blocks.part_files(self.folder_uri).uncompacted())

    def _counts_or_damage(self, part: int, block_facts: BlockFacts, stamp: str = "") -> Counts | Damaged:
        """Return a part's counts or its damage. held: facts of the part's block file. stamp: ETag of the part file."""
        if isinstance(block_facts, Damaged):
            return block_facts
        try:
            facts = block_facts[part] if block_facts else read_facts(self.uri(part))
            if not block_facts:
                known_parts.remember_facts(self.uri(part), stamp, facts)
            return facts.counts
        except FileNotFoundError:  # compacted meanwhile
            return self._counts_or_damage(
                part, self._block_facts(part // blocks.BLOCK) or {part: self._read_facts(part)}
            )
        except Damaged as damage:
            return damage

    def _block_facts(self, number: int) -> BlockFacts:
        try:
            return BlockFile(self.folder_uri, number).facts()
        except FileNotFoundError:
            return None
        except Damaged as damage:
            return damage

    def total(self) -> Counts:
        """Return the summed counts of all committed parts that are not damaged."""
        return Counts.sum(counts for counts in self.part_counts().values() if isinstance(counts, Counts))
