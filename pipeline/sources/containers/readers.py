"""Read the bytes of containers: by offset if possible, else from the beginning."""

from __future__ import annotations

import io
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from manifests import object_store, storage
from manifests.object_file import ObjectFile
from manifests.retries import StoreUnreachable
from pipeline.sources.containers.members import Unreadable

# A header of a tar and the small members behind it (json, txt and subtitles with their headers have some 3 kB) come in
# one request. More would read the beginning of each video as well.
AHEAD = 4096
BYTES_BEFORE = 4096  # likewise of the small members that lie before the next sample, where its offset is known
QUESTIONS = 32  # to a store at once: each waits some 50 ms
A_BATCH = 256  # offsets that are asked for together: 2 MB
SKIP = 1 << 20  # bytes of a stream that are passed over at once
BUFFER = 8 << 20  # bytes of one request for a stream
CODECS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".tzst": "zstd", ".bz2": "bz2", ".tbz2": "bz2"}
DAMAGE = re.compile(r"inflate|decompress|[Tt]runcated|bz2|ZSTD", re.IGNORECASE)  # in Arrow's words, not a store's


class LocalFile(io.FileIO):
    """A local file with reads by offset. A file that is truncated meanwhile returns fewer bytes."""

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self.fileno()).st_size

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        return os.pread(self.fileno(), size, offset)


class ReadAheadFile:
    """A file with reads by offset; small reads fetch more bytes, for the next read."""

    def __init__(self, file: Any, ahead: int = AHEAD) -> None:
        """file: with `read_at(size, offset)`. ahead: minimum number of bytes to fetch."""
        self.file, self.ahead = file, ahead
        self.start, self.data = 0, b""

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        at = offset - self.start
        if not 0 <= at <= len(self.data) - size:
            self.start, self.data, at = offset, self._read(max(size, self.ahead), offset), 0
        return self.data[at : at + size]

    def _read(self, size: int, offset: int) -> bytes:
        size = min(size, self.file.size() - offset)  # Arrow's files raise beyond their end
        return bytes(self.file.read_at(size, offset)) if size > 0 else b""


class PrefetchedFile:
    """A file in a store with reads by offset, which fetches the bytes around known offsets by parallel requests.

    Headers are still parsed: a wrong offset only costs one more request.
    """

    def __init__(self, file: Any, offsets: Sequence[int], size: int) -> None:
        """offsets: ascending. size: of the file, in bytes."""
        self.file, self.offsets, self.size = ReadAheadFile(file), offsets, size
        self.first, self.windows = 0, list[tuple[int, bytes]]()

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        number = bisect_right(self.offsets, offset + BYTES_BEFORE) - 1
        if number < 0 or offset + size > self.offsets[number] + AHEAD:
            return self.file.read_at(size, offset)
        if not 0 <= number - self.first < len(self.windows):
            self.first = number
            with ThreadPoolExecutor(QUESTIONS) as pool:
                self.windows = list(pool.map(self._window, self.offsets[number : number + A_BATCH]))
        start, data = self.windows[number - self.first]
        return data[offset - start : offset - start + size]

    def _window(self, offset: int) -> tuple[int, bytes]:
        start = max(0, offset - BYTES_BEFORE)
        return start, bytes(self.file.file.read_at(min(offset + AHEAD, self.size) - start, start))


class ForwardStream:
    """A stream with reads by ascending offset."""

    def __init__(self, stream: Any, name: str) -> None:
        """stream: with `read(size)`; name: for errors."""
        self.stream, self.name, self.position = stream, name, 0

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer at the end of the stream. Raises Unreadable for damage.

        Raises ValueError for an offset before the last read.
        """
        if offset < self.position:
            raise ValueError(f"{self.name} is read forward only: {offset} lies before {self.position}")
        while (gap := offset - self.position) and self._read(min(gap, SKIP)):
            pass
        pieces, left = [], size if self.position == offset else 0
        while left and (piece := self._read(min(left, SKIP))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _read(self, size: int) -> bytes:
        try:
            data = bytes(self.stream.read(size))
        except StoreUnreachable:
            raise
        except (pa.ArrowException, OSError) as error:
            if not DAMAGE.search(str(error)):
                raise
            raise Unreadable(f"its compression is cut off or damaged after {self.position} bytes") from error
        self.position += len(data)
        return data


def check_stamp(file: Any, uri: str, stamp: str) -> None:
    """Raise OSError unless the object's ETag is `stamp`."""
    if stamp and getattr(file, "stamp", stamp) != stamp:
        raise OSError(f"{uri}: it was replaced")


_last: list[tuple[str, str, ForwardStream]] = []  # the last stream of this process: members are read in order


def stream_before(uri: str, stamp: str, offset: int) -> ForwardStream:
    """Return a stream of a compressed tar at or before `offset`: the last stream, or a new one."""
    if not (_last and _last[0][:2] == (uri, stamp) and _last[0][2].position <= offset):
        _last[:] = [(uri, stamp, stream(uri, stamp))]
    return _last[0][2]


def open_container(uri: str, stamp: str = "") -> Any:
    """Open a container as a seekable file with `read_at`. stamp: its ETag, if known; saves a request."""
    if storage.is_local(uri):
        return LocalFile(storage.normal(uri))
    return ObjectFile(uri, stamp) if stamp and object_store.holds(uri) else storage.open_random(uri)


def stream(uri: str, stamp: str = "") -> ForwardStream:
    """Return the decompressed bytes of a compressed tar from the beginning. stamp: its ETag, if known.

    Raises OSError if the ETag differs.
    """
    raw = storage.open_random(uri)
    check_stamp(raw, uri, stamp)
    codec = next(codec for ending, codec in CODECS.items() if uri.lower().endswith(ending))
    source = raw if isinstance(raw, pa.NativeFile) else io.BufferedReader(raw, BUFFER)
    return ForwardStream(pa.CompressedInputStream(source, codec), uri)
