"""Read and write Parquet files of committed rows; a damaged file raises an error that names the file."""

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
    """A file of committed parts is unreadable: truncated, emptied or overwritten."""


@dataclass(frozen=True)
class PartFacts:
    """The facts about a part in its file's footer. digest: of the rows; None in files of older releases."""

    counts: Counts
    digest: str | None

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> PartFacts:
        """Parse the facts from a part file's metadata. Raises ValueError, TypeError or KeyError if they are missing."""
        stored = dict(metadata or {})
        digest = stored.get(ROWS_FOOTER)
        return cls(Counts(**json.loads(stored[FOOTER])), digest.decode() if digest else None)

    @property
    def metadata(self) -> dict[bytes, str]:
        """Return the facts as metadata of a part file."""
        counts = {FOOTER: json.dumps(asdict(self.counts))}
        return counts | ({ROWS_FOOTER: self.digest} if self.digest else {})


@contextmanager
def raise_damaged(uri: str) -> Iterator[None]:
    """Raise Damaged, with the file's name, if the block fails to parse the file."""
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{uri} is damaged: delete it and run again ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, or its type if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def read_facts(uri: str) -> PartFacts:
    """Read the footer of a part file. Raises FileNotFoundError or Damaged."""
    with raise_damaged(uri), storage.open_random(uri) as file:
        return PartFacts.from_metadata(pq.read_metadata(file).metadata)


def read_undamaged(uri: str) -> pa.Table:
    """Read all rows of a Parquet file. Raises Damaged, or OSError if the store does not answer."""
    with raise_damaged(uri):
        return read_parquet(uri)


def read_parquet(uri: str) -> pa.Table:
    """Read a Parquet file. Raises OSError, or pyarrow's ArrowException if it is not Parquet."""
    return pq.read_table(pa.BufferReader(storage.read_bytes(uri)))


def parquet_bytes(table: pa.Table, row_group: int | None = None) -> bytes:
    """Return a table as the bytes of a Parquet file. row_group: rows per row group; None for pyarrow's default."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group)
    return bytes(sink.getvalue().to_pybytes())
