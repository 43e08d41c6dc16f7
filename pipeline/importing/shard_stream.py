"""The shards of one kind and split, written one after the other; what is closed survives a kill.

In: samples in the order of their records. Out: `<split>-NNNNNN.tar` with their indexes, their rows, and what became of
the records that they were made of. A shard's rows are written last: where they are, it is whole.
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
    """What became of record `number` of a file: `ok` with its task, or `failed` with its reason.

    mended: kinds of what had to be mended in a record that is `ok`.
    """

    number: int
    id: str
    status: str
    reason: str | None = None
    detail: str | None = None
    task: str | None = None
    mended: tuple[str, ...] = ()


def failed(number: int, name: str, reason: str, detail: str | None = None) -> ImportOutcome:
    """The row of a record that cannot be used."""
    plain = None if detail is None else detail.encode("utf-8", "replace").decode()
    return ImportOutcome(number=number, id=name, status=FAILED, reason=reason, detail=plain)


@dataclass(frozen=True)
class ImportedSample:
    """A sample with its members and the tokens of its tasks, and the fates of the records it was made of.

    sample: None where none of them can be used.
    """

    fates: tuple[ImportOutcome, ...]
    sample: Sample | None = None
    members: Mapping[str, bytes] | None = None
    tokens: Sequence[int] = ()


class ShardStream:
    """Closed shards and at most one open one; `done` is the number of the last record that a closed shard is about."""

    def __init__(self, folder: str, split: str, limit: int) -> None:
        """Takes up what an earlier attempt closed. limit: a shard is closed when it has so many bytes."""
        self.folder, self.split, self.limit = folder, split, limit
        self.shards: list[str] = []
        self.fates: list[ImportOutcome] = []
        while storage.exists(rows_uri(folder, self.next)):
            self.fates += from_rows(ImportOutcome, read_parquet(_fates_uri(folder, self.next)).to_pylist())
            self.shards.append(self.next)
        self.done = max((fate.number for fate in self.fates), default=-1)
        self.stack = ExitStack()
        self.writer: ShardWriter | None = None
        self.rows: list[PackedTask] = []
        self.begun = len(self.fates)  # fates from here on are of no closed shard

    @property
    def next(self) -> str:
        """Name of the shard that is open, or will be."""
        return f"{self.split}-{len(self.shards):06d}"

    def take(self, made: ImportedSample) -> None:
        """Add a sample; a shard that is full is closed."""
        self.fates += made.fates
        if made.sample is None or made.members is None:
            return
        writer = self.writer or self._begin()
        placed = writer.add(made.sample.key, made.members)
        rows = [{"split": self.split, "tokens": tokens} for tokens in made.tokens]
        self.rows += packed_rows(made.sample, rows, f"{self.next}.tar", placed)
        if writer.bytes >= self.limit:
            self.close()

    def close(self) -> None:
        """Make the open shard, if there is one, whole."""
        if self.writer is None:
            return
        self.stack.close()
        uri = storage.join(self.folder, f"{self.next}.tar")
        storage.write_bytes(uri + ".idx", index_bytes(self.writer.offsets))
        fates = records_table(ImportOutcome, self.fates[self.begun :])
        storage.write_bytes(_fates_uri(self.folder, self.next), parquet_bytes(fates))
        storage.write_bytes(rows_uri(self.folder, self.next), parquet_bytes(records_table(PackedTask, self.rows)))
        self.shards.append(self.next)
        self.writer, self.rows, self.begun = None, [], len(self.fates)

    def __enter__(self) -> ShardStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the open shard; after an error, leave nothing of it."""
        if kind is None:
            self.close()
        else:
            self.stack.__exit__(kind, error, trace)

    def _begin(self) -> ShardWriter:
        path = self.stack.enter_context(storage.draft(storage.join(self.folder, f"{self.next}.tar")))
        self.writer = self.stack.enter_context(ShardWriter(path))
        return self.writer


def _fates_uri(folder: str, shard: str) -> str:
    return storage.join(folder, "rows", f"{shard}.fates.parquet")
