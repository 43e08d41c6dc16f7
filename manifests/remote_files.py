"""Files that pyarrow and fsspec read (hdfs://, …): the calls of `manifests.storage` for them, made until they succeed.

A fault may pass if it is of the connection. Lengths are compared with what the file system says.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from typing import TypeVar

from pyarrow import fs as pafs

from manifests.filesystems import resolve, store_of
from manifests.retries import PassingFault, repeated

PASSING = (errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE,
           errno.EHOSTUNREACH, errno.ENETUNREACH)  # fmt: skip
WORDS = ("HTTP status 5", "SLOW_DOWN", "NETWORK_CONNECTION", "curlCode")  # of Arrow's own client of S3
CLIENT, TRANSPORT = "httpx", "TransportError"  # of the Hub's client, whose errors are no OSError
COPY_BYTES = 8 << 20  # larger blocks gain nothing over a network; smaller ones cost round trips
T = TypeVar("T")


def ask(uri: str, request: Callable[[pafs.FileSystem, str], T]) -> T:
    """Make a call that gets the file system and the path. Raises OSError, or StoreAway."""
    filesystem, path = resolve(uri)

    def once() -> T:
        try:
            return request(filesystem, path)
        except Exception as error:
            if not _is_passing(error):
                raise
            raise PassingFault(f"{uri}: {' '.join(str(error).split())}") from error

    return repeated(store_of(uri), once)


def _is_passing(error: Exception) -> bool:
    if not isinstance(error, OSError):
        return any(each.__name__ == TRANSPORT and each.__module__.startswith(CLIENT) for each in type(error).__mro__)
    known = isinstance(error, PassingFault | ConnectionError | TimeoutError)
    return known or error.errno in PASSING or any(words in str(error) for words in WORDS)


def look(uri: str) -> pafs.FileInfo:
    """What the file system says of a path."""
    return ask(uri, lambda filesystem, path: filesystem.get_file_info(path))


def below(uri: str, recursive: bool) -> list[pafs.FileInfo]:
    """The files below a folder; [] where there is none."""
    return [info for info in entries(uri, recursive) if info.type == pafs.FileType.File]


def entries(uri: str, recursive: bool) -> list[pafs.FileInfo]:
    """The files and folders below a folder; [] where there is none."""
    return ask(
        uri,
        lambda filesystem, path: list(
            filesystem.get_file_info(pafs.FileSelector(path, recursive=recursive, allow_not_found=True))
        ),
    )


def read(uri: str) -> bytes:
    """All bytes of a file."""

    def whole(filesystem: pafs.FileSystem, path: str) -> bytes:
        with filesystem.open_input_file(path) as file:
            data, size = bytes(file.read()), file.size()
        return _of_length(uri, data, size)

    return ask(uri, whole)


def _of_length(uri: str, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise PassingFault(f"{uri}: {len(data)} bytes came of {size}")
    return data


def download(uri: str, target: str, size: int) -> None:
    """Copy a file of this size to a local path."""

    def whole(filesystem: pafs.FileSystem, path: str) -> None:
        with open(target, "wb") as sink, filesystem.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, sink, COPY_BYTES)
            if sink.tell() != size:
                raise PassingFault(f"{uri}: {sink.tell()} bytes came of {size}")

    ask(uri, whole)


def upload(source: str, uri: str) -> None:
    """Copy a local file to a URI."""

    def whole(filesystem: pafs.FileSystem, path: str) -> None:
        # pyarrow completes an upload even when the block raised; so nothing may raise in it but the upload itself
        with open(source, "rb") as data, filesystem.open_output_stream(path) as sink:
            shutil.copyfileobj(data, sink, COPY_BYTES)

    ask(uri, whole)


def remove(uri: str) -> None:
    """Delete a file that is there."""
    ask(uri, lambda filesystem, path: filesystem.delete_file(path))
