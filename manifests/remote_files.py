"""File operations on pyarrow and fsspec file systems (hdfs://, …) for `manifests.storage`, with retries.

Connection errors are retried. Lengths are compared with the file system's sizes.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from typing import TypeVar

from pyarrow import fs as pafs

from manifests.filesystems import resolve, store_of
from manifests.retries import PassingFault, retry

PASSING = (errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE,
           errno.EHOSTUNREACH, errno.ENETUNREACH)  # fmt: skip
WORDS = ("HTTP status 5", "SLOW_DOWN", "NETWORK_CONNECTION", "curlCode")  # in errors of Arrow's S3 client
CLIENT, TRANSPORT = "httpx", "TransportError"  # of the Hugging Face Hub's client, whose errors are not OSError
COPY_BYTES = 8 << 20  # larger blocks are no faster over a network; smaller blocks cost round trips
T = TypeVar("T")


def ask(uri: str, request: Callable[[pafs.FileSystem, str], T]) -> T:
    """Call `request` with the file system and the path of a URI, with retries. Raises OSError or StoreUnreachable."""
    filesystem, path = resolve(uri)

    def once() -> T:
        try:
            return request(filesystem, path)
        except Exception as error:
            if not _is_passing(error):
                raise
            raise PassingFault(f"{uri}: {' '.join(str(error).split())}") from error

    return retry(store_of(uri), once)


def _is_passing(error: Exception) -> bool:
    if not isinstance(error, OSError):
        return any(each.__name__ == TRANSPORT and each.__module__.startswith(CLIENT) for each in type(error).__mro__)
    known = isinstance(error, PassingFault | ConnectionError | TimeoutError)
    return known or error.errno in PASSING or any(words in str(error) for words in WORDS)


def stat(uri: str) -> pafs.FileInfo:
    """Return the file system's information about a path."""
    return ask(uri, lambda filesystem, path: filesystem.get_file_info(path))


def below(uri: str, recursive: bool) -> list[pafs.FileInfo]:
    """List the files below a folder; [] if the folder does not exist."""
    return [info for info in entries(uri, recursive) if info.type == pafs.FileType.File]


def entries(uri: str, recursive: bool) -> list[pafs.FileInfo]:
    """List the files and folders below a folder; [] if the folder does not exist."""
    return ask(
        uri,
        lambda filesystem, path: list(
            filesystem.get_file_info(pafs.FileSelector(path, recursive=recursive, allow_not_found=True))
        ),
    )


def read(uri: str) -> bytes:
    """Read all bytes of a file."""

    def whole(filesystem: pafs.FileSystem, path: str) -> bytes:
        with filesystem.open_input_file(path) as file:
            data, size = bytes(file.read()), file.size()
        return _check_length(uri, data, size)

    return ask(uri, whole)


def _check_length(uri: str, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise PassingFault(f"{uri}: expected {size} bytes, got {len(data)}")
    return data


def download(uri: str, target: str, size: int) -> None:
    """Download a file of this size to a local path."""

    def whole(filesystem: pafs.FileSystem, path: str) -> None:
        with open(target, "wb") as sink, filesystem.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, sink, COPY_BYTES)
            if sink.tell() != size:
                raise PassingFault(f"{uri}: expected {size} bytes, got {sink.tell()}")

    ask(uri, whole)


def upload(source: str, uri: str) -> None:
    """Upload a local file to a URI."""

    def whole(filesystem: pafs.FileSystem, path: str) -> None:
        # pyarrow completes an upload even if the block raised, so only the upload itself may raise in the block
        with open(source, "rb") as data, filesystem.open_output_stream(path) as sink:
            shutil.copyfileobj(data, sink, COPY_BYTES)

    ask(uri, whole)


def remove(uri: str) -> None:
    """Delete an existing file."""
    ask(uri, lambda filesystem, path: filesystem.delete_file(path))
