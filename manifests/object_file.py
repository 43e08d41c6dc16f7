"""An object of a store as a seekable file, as Parquet readers want one."""

from __future__ import annotations

import io
import sys
from typing import Any

from manifests.object_store import look, read_range


class ObjectFile(io.RawIOBase):
    """An object as a seekable file; each read is one request. OSError once the object was replaced."""

    def __init__(self, uri: str, stamp: str = "") -> None:
        """Ask for size and ETag. Raises FileNotFoundError.

        stamp: the ETag, where it is known: nothing is asked then, the size is unknown, and only `read_at` may be used.
        """
        super().__init__()
        self.uri = uri
        if stamp:
            self.length, self.stamp, self.position = sys.maxsize, stamp, 0
            return
        entry = look(uri)
        if entry is None:
            raise FileNotFoundError(2, "no such object", uri)
        self.length, self.stamp, self.position = entry.size, entry.stamp, 0

    def size(self) -> int:
        """Size in bytes."""
        return self.length

    def read_at(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the object."""
        end = min(offset + size, self.length)
        if end <= offset:
            return b""
        return read_range(self.uri, offset, end, self.stamp)

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes from where the file stands; all that are left if it is negative or None."""
        data = self.read_at(self.length if size is None or size < 0 else size, self.position)
        self.position += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as the object goes, and return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read_buffer(self, size: int) -> bytes:
        """The same as `read`: pyarrow's files have both."""
        return self.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset from the start, the current position or the end."""
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        return self.position

    def tell(self) -> int:
        """Where the file stands."""
        return self.position

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True
