"""Parquet files of committed rows: how they are read and written, and the error that names a damaged one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.counts import Counts

FOOTER = b"ola.counts"
ROWS_FOOTER = b"ola.rows"


class Damaged(OSError):
    """A file of committed parts cannot be read: it was cut short, emptied or overwritten."""


@dataclass(frozen=True)
class PartFacts:
    """What the footer says of a part. digest: of its rows; None in files of releases that stored none."""

    counts: Counts
    digest: str | None

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes] | None) -> PartFacts:
        """Read the facts in the metadata of a part file. Raises ValueError, TypeError or KeyError without them."""
        stored = dict(metadata or {})
        digest = stored.get(ROWS_FOOTER)
        return cls(Counts(**json.loads(stored[FOOTER])), digest.decode() if digest else None)

    @property
    def metadata(self) -> dict[bytes, str]:
        """The facts as the metadata of a part file."""
        counts = {FOOTER: json.dumps(asdict(self.counts))}
        return counts | ({ROWS_FOOTER: self.digest} if self.digest else {})


@contextmanager
def damage_named(uri: str) -> Iterator[None]:
    """Raise Damaged, with the name of the file, where the block cannot make sense of its content."""
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{uri} is damaged: delete it and run again ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    """The words of an error on one line, or else its type."""
    return " ".join(str(error).split()) or type(error).__name__


def read_facts(uri: str) -> PartFacts:
    """Read the footer of a part file. Raises FileNotFoundError or Damaged."""
    with damage_named(uri), storage.open_random(uri) as file:
        return PartFacts.of(pq.read_metadata(file).metadata)


def read_undamaged(uri: str) -> pa.Table:
    """Read all rows of a Parquet file. Raises Damaged, or OSError where the file cannot be reached."""
    with damage_named(uri):
        return read_parquet(uri)


def read_parquet(uri: str) -> pa.Table:
    """A Parquet file as a table. Raises OSError, or pyarrow's ArrowException where it is none."""
    return pq.read_table(pa.BufferReader(storage.read_bytes(uri)))


def parquet_bytes(table: pa.Table, row_group: int | None = None) -> bytes:
    """A table as a Parquet file. row_group: rows of each group; None leaves the choice to pyarrow."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group)
    return bytes(sink.getvalue().to_pybytes())
