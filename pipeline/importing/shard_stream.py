"""Write the shards of one kind and split, one after the other; closed shards survive a kill.

In: samples in the order of their records. Out: `<split>-NNNNNN.tar` with their indexes and rows, and the outcomes of
their records. The rows of a shard are written last: a shard with rows is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from manifests import storage
from manifests.ledger import FAILED, parquet_bytes, read_parquet
from manifests.records import PackedTask
from manifests.schema import from_rows, records_table
from pipeline.pack.build import packed_rows
from pipeline.pack.lanes import rows_uri
from pipeline.pack.writer import ShardWriter, index_bytes
from stages.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOutcome:
    """The outcome of record `number` of a file: `ok` with its task, or `failed` with its reason.

    mended: kinds of repairs made in a record that is `ok`.
    """

    number: int
    id: str
    status: str
    reason: str | None = None
    detail: str | None = None
    task: str | None = None
    mended: tuple[str, ...] = ()


def failed_outcome(number: int, name: str, reason: str, detail: str | None = None) -> ImportOutcome:
    """Return the outcome of a record that cannot be used."""
    plain = None if detail is None else detail.encode("utf-8", "replace").decode()
    return ImportOutcome(number=number, id=name, status=FAILED, reason=reason, detail=plain)


@dataclass(frozen=True)
class ImportedSample:
    """A sample with its members, the tokens of its tasks, and the outcomes of its records.

    sample: None if none of the records can be used.
    """

    outcomes: tuple[ImportOutcome, ...]
    sample: Sample | None = None
    members: Mapping[str, bytes] | None = None
    tokens: Sequence[int] = ()


class ShardStream:
    """Closed shards and at most one open shard; `last_done` is the last record whose outcome a closed shard has."""

    def __init__(self, folder: str, split: str, limit: int) -> None:
        """Load the closed shards of earlier attempts. limit: bytes at which a shard is closed."""
        self.folder, self.split, self.limit = folder, split, limit
        self.shards: list[str] = []
        self.outcomes: list[ImportOutcome] = []
        while storage.exists(rows_uri(folder, self.next_shard)):
            self.outcomes += from_rows(ImportOutcome, read_parquet(_outcomes_uri(folder, self.next_shard)).to_pylist())
            self.shards.append(self.next_shard)
        self.last_done = max((outcome.number for outcome in self.outcomes), default=-1)
        self.stack = ExitStack()
        self.writer: ShardWriter | None = None
        self.rows: list[PackedTask] = []
        self.unclosed = len(self.outcomes)  # the first outcome that no closed shard has

    @property
    def next_shard(self) -> str:
        """Name of the open shard, or of the next shard if none is open."""
        return f"{self.split}-{len(self.shards):06d}"

    def add_sample(self, imported: ImportedSample) -> None:
        """Add a sample and its outcomes; close the shard if it is full."""
        self.outcomes += imported.outcomes
        if imported.sample is None or imported.members is None:
            return
        writer = self.writer or self._open_shard()
        placed = writer.add(imported.sample.key, imported.members)
        rows = [{"split": self.split, "tokens": tokens} for tokens in imported.tokens]
        self.rows += packed_rows(imported.sample, rows, f"{self.next_shard}.tar", placed)
        if writer.bytes >= self.limit:
            self.close()

    def close(self) -> None:
        """Complete the open shard, if any, with its index, outcomes and rows."""
        if self.writer is None:
            return
        self.stack.close()
        uri = storage.join(self.folder, f"{self.next_shard}.tar")
        storage.write_bytes(uri + ".idx", index_bytes(self.writer.offsets))
        outcomes = records_table(ImportOutcome, self.outcomes[self.unclosed :])
        storage.write_bytes(_outcomes_uri(self.folder, self.next_shard), parquet_bytes(outcomes))
        storage.write_bytes(rows_uri(self.folder, self.next_shard), parquet_bytes(records_table(PackedTask, self.rows)))
        self.shards.append(self.next_shard)
        self.writer, self.rows, self.unclosed = None, [], len(self.outcomes)

    def __enter__(self) -> ShardStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the open shard; after an error, delete it."""
        if kind is None:
            self.close()
        else:
            self.stack.__exit__(kind, error, trace)

    def _open_shard(self) -> ShardWriter:
        path = self.stack.enter_context(storage.draft(storage.join(self.folder, f"{self.next_shard}.tar")))
        self.writer = self.stack.enter_context(ShardWriter(path))
        return self.writer


def _outcomes_uri(folder: str, shard: str) -> str:
    return storage.join(folder, "rows", f"{shard}.fates.parquet")
