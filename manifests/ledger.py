"""The ledger of parts: what is committed, under which key, and the law that no input vanishes.

A `Manifest` is the committed rows of one step: a folder `<NN-step>-<key>` with one Parquet file a part. The file of a
part is written last and atomically; that it is there means that the part is done. Its footer carries the part's
counts, so that progress and the funnel need not read rows. Later 64 parts share a block file, see `manifests.blocks`.
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

from manifests import blocks, known_parts, object_store, storage
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

# also what is made in `counts`, `blocks` and `parquet_files`: readers of manifests find it here
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
    """A step lost an input, or answered for one it was never given."""


def digest(facts: Any, digits: int = KEY_DIGITS) -> str:
    """Key of anything JSON can hold: the same facts give the same key on every machine."""
    return hashlib.sha256(ENCODER.encode(facts).encode()).hexdigest()[:digits]


def check_law(name: str, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """Raise LawBroken unless every input has exactly one outcome, and `ok` ones have rows."""
    asked, answered = Counter(inputs), Counter(outcome.input for outcome in outcomes)
    if asked != answered:
        lost, strange = asked - answered, answered - asked
        raise LawBroken(f"step '{name}': inputs without a row: {sorted(lost)[:5]}; rows without an input: "
                        f"{sorted(strange)[:5]}")  # fmt: skip
    for outcome in outcomes:
        if (outcome.status == OK) != bool(outcome.records):
            raise LawBroken(f"step '{name}': input {outcome.input} is {outcome.status} with {outcome.records!r}")


BlockFacts = dict[int, PartFacts] | Damaged | None  # how a block file is damaged; None where there is none


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
        """Schema of its rows."""
        return manifest_schema(self.record)

    @property
    def folder(self) -> str:
        """Folder below the root: `02-split-1a2b3c`."""
        return f"{self.number:02d}-{self.name}" + (f"-{self.key}" if self.key else "")

    @property
    def folder_uri(self) -> str:
        """Full URI of its folder."""
        return storage.join(self.root, self.folder)

    def path(self, part: int, suffix: str = "parquet") -> str:
        """Path of a part's file below the root."""
        return f"{self.folder}/{blocks.part_name(part, suffix)}"

    def uri(self, part: int, suffix: str = "parquet") -> str:
        """Full URI of a part's file."""
        return storage.join(self.root, self.path(part, suffix))

    def block(self, part: int) -> BlockFile:
        """Return the block file that holds a part once it is compacted."""
        return blocks.block_of(self.folder_uri, part)

    def file_names(self) -> list[str]:
        """Return the names of the files that hold the committed rows, in the order of parts."""
        return blocks.part_files(self.folder_uri).names()

    def committed(self) -> dict[int, int]:
        """Numbers of the committed parts, with the size of each file in bytes, or its share of a block file."""
        return blocks.part_files(self.folder_uri).committed()

    def has(self, part: int) -> bool:
        """Whether this part is committed."""
        return storage.exists(self.uri(part)) or self.block(part).exists()

    def commit(self, part: int, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> bool:
        """Write the part's rows in the order of its inputs, unless the part is committed.

        Returns whether these rows are the part's now. Raises LawBroken before anything is written.
        """
        return self.commit_rows(part, self.rows(inputs, outcomes))

    def rows(self, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> pa.Table:
        """Return the rows of a part in the order of its inputs, with its facts as metadata. Raises LawBroken."""
        check_law(self.name, inputs, outcomes)
        place = {name: n for n, name in enumerate(inputs)}
        ordered = sorted(outcomes, key=lambda outcome: place[outcome.input])
        table = to_table(self.record, ordered)
        return table.replace_schema_metadata(PartFacts(Counts.of(outcomes), digest_rows(table)).metadata)

    def commit_rows(self, part: int, table: pa.Table, may_be_compacted: bool = True) -> bool:
        """Write what `rows` made, unless the part is committed. Returns whether these rows are the part's now.

        may_be_compacted: whether to ask for a block file, whose rows count where there is one.
        """
        uri, data = self.uri(part), parquet_bytes(table)
        if object_store.holds(uri):
            version = object_store.create_version(uri, data)
            is_written = version is not None
            stamp = (version or {}).get("e_tag") or ""
            known_parts.learn(uri, stamp, PartFacts.of(table.schema.metadata))
            known_parts.hold(uri, stamp, data)
        else:
            is_written = storage.create(uri, data)
        return is_written and not (may_be_compacted and self.block(part).exists())

    def remove(self, part: int) -> None:
        """Take back a part. Raises Damaged where the block file that holds it cannot be read."""
        blocks.remove_part(self.folder_uri, part)

    def read(self, part: int) -> pa.Table:
        """All rows of a committed part. Raises Damaged, or OSError where it cannot be reached."""
        return self._found(part, self.block(part).read, lambda part: read_undamaged(self.uri(part)))

    def listed(self) -> PartFiles:
        """The files that hold the committed rows now, by one listing."""
        return blocks.part_files(self.folder_uri)

    def read_listed(self, part: int, files: PartFiles) -> pa.Table:
        """Do what `read` does for a part of a listing: no request asks for a block file that was not there."""
        name = blocks.part_name(part)
        stamp = files.loose().get(name)
        if stamp is None or not object_store.holds(self.root):
            return self.read(part)
        table = known_parts.rows(self.uri(part), stamp)
        return self.read(part) if table is None else table

    def counts(self, part: int) -> Counts:
        """Counts of a committed part, from a footer alone."""
        return self._facts(part).counts

    def rows_digest(self, part: int) -> str:
        """Digest of a committed part's rows but for timings: equal for equal rows. From a footer, if it is there."""
        # through outcomes, so that fields which an older part lacks have their defaults
        return self._facts(part).digest or digest_rows(to_table(self.record, self.outcomes(part)))

    def outcomes(self, part: int) -> Iterator[Outcome]:
        """The outcomes that a part was committed with."""
        for name, group in groupby(self.read(part).to_pylist(), key=lambda row: str(row["input"])):
            rows = list(group)
            status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
            records = tuple(from_rows(self.record, rows)) if status == OK else ()
            yield Outcome(name, status, seconds, records, rows[0]["reason"], rows[0]["detail"])

    def _facts(self, part: int) -> PartFacts:
        return self._found(part, lambda part: self.block(part).facts()[part], lambda part: read_facts(self.uri(part)))

    def _found(self, part: int, in_block: Callable[[int], T], in_file: Callable[[int], T]) -> T:
        """Read a part in its block file, if there is one, else in its own file. Raises FileNotFoundError."""
        for read in (in_block, in_file) * 2:  # a run that compacts the part, or reopens it, may have moved it between
            with suppress(FileNotFoundError):
                return read(part)
        raise FileNotFoundError(2, "no such part", self.uri(part))

    def part_counts(self) -> dict[int, Counts | Damaged]:
        """Counts of every committed part, or how it is damaged."""
        return self.more_counts(())

    def more_counts(self, seen: Collection[int], limit: int | None = None) -> dict[int, Counts | Damaged]:
        """Counts of the committed parts that are not in `seen`, the first `limit`, or how they are damaged.

        A listing; the footer of a block file is read once, and that of a part file that is not known.
        """
        files = blocks.part_files(self.folder_uri)
        return self._counts_in(files, [part for part in files.committed() if part not in seen][:limit])

    def counts_of(self, parts: Sequence[int]) -> dict[int, Counts | Damaged]:
        """Counts of these committed parts, or how they are damaged; see `more_counts`."""
        return self._counts_in(blocks.part_files(self.folder_uri), parts)

    def _counts_in(self, files: PartFiles, parts: Sequence[int]) -> dict[int, Counts | Damaged]:
        known = known_parts.known(self.folder_uri, files.loose())
        with ThreadPoolExecutor(blocks.AT_ONCE) as pool:
            there = sorted({part // blocks.BLOCK for part in parts} & files.blocks.keys())
            held = dict(zip(there, pool.map(self._block_facts, there), strict=True))

            def counts(part: int) -> Counts | Damaged:
                name = blocks.part_name(part)
                if name in known:
                    return known[name].counts
                return self._counts_or_damage(part, held.get(part // blocks.BLOCK), files.stamps.get(name, ""))

            return dict(zip(parts, pool.map(counts, parts), strict=True))

    def keep_facts(self) -> None:
        """Write what the part files that are not compacted say into one object, for whoever looks at the run next."""
        known_parts.keep(self.folder_uri, blocks.part_files(self.folder_uri).loose())

    def _counts_or_damage(self, part: int, held: BlockFacts, stamp: str = "") -> Counts | Damaged:
        """held: what the block file of the part says; None where there is none. stamp: of the part file."""
        if isinstance(held, Damaged):
            return held
        try:
            facts = held[part] if held else read_facts(self.uri(part))
            if not held:
                known_parts.learn(self.uri(part), stamp, facts)
            return facts.counts
        except FileNotFoundError:  # compacted meanwhile
            return self._counts_or_damage(part, self._block_facts(part // blocks.BLOCK) or {part: self._facts(part)})
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
        """Counts of all committed parts that are not damaged."""
        return Counts.sum(counts for counts in self.part_counts().values() if isinstance(counts, Counts))
