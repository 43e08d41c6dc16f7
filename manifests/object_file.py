"""Open an object of a store as a seekable file, for Parquet readers."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError, PreconditionError

from manifests.object_store import Entry, ask, check_length, entry_of, stat
from manifests.retries import StoreUnreachable

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

ENDS = ("s3", "gs")  # stores that serve suffix ranges: the last bytes of an object of unknown size
NO_RANGE = "non-partial response"  # in obstore's error if a store ignores the range and sends the whole object
END = 64 << 10  # bytes read by the first request: the footer of a Parquet file, or all of a small file


class ObjectFile(io.RawIOBase):
    """An object as a seekable file. Opening reads the end of the object; each read of other bytes is one request.

    Reads raise OSError if the object was replaced meanwhile.
    """

    def __init__(self, uri: str, stamp: str = "") -> None:
        """Read the end of the object, its size and its ETag. Raises FileNotFoundError.

        stamp: the ETag, if known. Then no request is made, the size is unknown, and only `read_at` may be called.
        """
        super().__init__()
        self.uri = uri
        if stamp:
            self.end, self.length, self.stamp, self.position = b"", sys.maxsize, stamp, 0
            return
        self.end, entry = read_end(uri, END)
        self.length, self.stamp, self.position = entry.size, entry.stamp, 0

    def size(self) -> int:
        """Return the size in bytes."""
        return self.length

    def read_at(self, size: int, offset: int) -> bytes:
        """Read up to `size` bytes from `offset`; fewer only at the end of the object."""
        end = min(offset + size, self.length)
        if end <= offset:
            return b""
        if (start := self.length - len(self.end)) <= offset:
            return self.end[offset - start : end - start]
        return read_range(self.uri, offset, end, self.stamp)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes from the current position; all that are left if `size` is negative or None."""
        data = self.read_at(self.length if size is None or size < 0 else size, self.position)
        self.position += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer and return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read_buffer(self, size: int) -> bytes:
        """Call `read`: pyarrow's files have both methods."""
        return self.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset from the start, the current position or the end."""
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        return self.position

    def tell(self) -> int:
        """Return the current position."""
        return self.position

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True


def read_end(uri: str, size: int) -> tuple[bytes, Entry]:
    """Read at most the last `size` bytes of an object, its size and its ETag; by one request if the store allows it.

    Raises FileNotFoundError.
    """
    if uri.partition("://")[0] not in ENDS:
        return b"", _require_entry(uri)

    def end(store: ObjectStore, key: str) -> tuple[bytes, Entry]:
        try:
            result = obstore.get(store, key, options={"range": {"suffix": size}})
        except BaseError as error:
            if NO_RANGE in str(error):  # a retry would give the same answer
                raise OSError(f"{uri}: the store does not serve the last bytes of an object") from error
            raise
        data, entry = bytes(result.bytes()), entry_of(result.meta, key)
        check_length(uri, len(data), min(size, entry.size))
        return data, entry

    try:
        return ask(uri, end)
    except (FileNotFoundError, StoreUnreachable):
        raise
    except OSError:  # stores answer a suffix range of an empty object with 416, or with the whole object
        return b"", _require_entry(uri)


def _require_entry(uri: str) -> Entry:
    if (entry := stat(uri)) is None:
        raise FileNotFoundError(2, "no such object", uri)
    return entry


def read_range(uri: str, start: int, end: int, stamp: str) -> bytes:
    """Read the bytes from `start` up to `end`, by one request. Raises OSError if the ETag is no longer `stamp`."""
    options: GetOptions = {"range": (start, end)}
    if stamp:
        options["if_match"] = stamp

    def span(store: ObjectStore, key: str) -> bytes:
        data = bytes(obstore.get(store, key, options=options).bytes())
        check_length(uri, len(data), end - start)
        return data

    try:
        return ask(uri, span)
    except PreconditionError as error:
        raise OSError(f"{uri}: replaced while it was read") from error
