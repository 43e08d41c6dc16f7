"""Every path of a run goes through here: a folder on this machine or an object store, named by one URI.

Reads, atomic writes and listings over `pyarrow.fs` (local, s3://, gs://, abfs://, hdfs://; what pyarrow lacks is
looked for among fsspec's file systems). A write is seen whole or not at all: locally by draft and rename, in object
stores because an object appears when its upload is complete, and uploads begin only when all bytes are there.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

DRAFT = ".draft"  # what a half-written file is called; never listed, removed when a run starts
DRAFTED = re.compile(re.escape(DRAFT) + r"-\d+-[0-9a-f]{8}$")
COPY_BYTES = 8 << 20  # larger blocks gain nothing over a network; smaller ones cost round trips


@dataclass(frozen=True)
class Entry:
    """A file in a listing: its path below the folder that was asked for, its size in bytes, and its stamp.

    stamp: ETag, or modification time in ns: it changes when the file is written again; empty where there is neither.
    """

    path: str
    size: int
    stamp: str = ""


def is_local(uri: str) -> bool:
    """Whether `uri` is a path on this machine (with or without `file://`)."""
    return "://" not in uri or uri.startswith("file://")


def normal(uri: str | os.PathLike[str]) -> str:
    """`uri` in the form used everywhere: absolute path for local files, no trailing slash."""
    text = os.fspath(uri)
    if is_local(text):
        return os.path.abspath(os.path.expanduser(text.removeprefix("file://")))
    return text.rstrip("/")


def join(uri: str, *names: str) -> str:
    """`uri` with path components added."""
    return "/".join([uri.rstrip("/"), *names])


@cache
def _remote(scheme: str, bucket: str) -> pafs.FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and endpoint:
        # asking for the bucket's region, as from_uri does, would go to AWS whatever the endpoint
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return pafs.S3FileSystem(endpoint_override=endpoint, region=region)
    try:
        return pafs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except pa.ArrowInvalid:
        import fsspec

        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme)))


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system that holds `uri`, and the path within it.

    Credentials, region and endpoint of object stores come from where their own tools take them (`AWS_PROFILE`,
    `AWS_ENDPOINT_URL`, ...).
    """
    if is_local(uri):
        return pafs.LocalFileSystem(), normal(uri)
    scheme, _, path = uri.partition("://")  # not urlsplit: keys may hold ? and #
    return _remote(scheme, path.split("/", 1)[0]), path


def exists(uri: str) -> bool:
    """Whether a file (not a folder) is there."""
    if is_local(uri):
        return os.path.isfile(normal(uri))
    filesystem, path = resolve(uri)
    return bool(filesystem.get_file_info(path).type == pafs.FileType.File)


def look(uri: str) -> Entry | None:
    """The file at `uri` as a listing shows it, or None if there is none. Raises OSError where that cannot be told."""
    filesystem, path = resolve(uri)
    info = filesystem.get_file_info(path)
    return Entry(path, info.size, _stamp(info)) if info.type == pafs.FileType.File else None


def _stamp(info: pafs.FileInfo) -> str:
    return str(info.mtime_ns or "")


def listing(uri: str, recursive: bool = False) -> list[Entry]:
    """Files below a folder, sorted by path; [] where there is no such folder. Drafts are not shown."""
    filesystem, path = resolve(uri)
    selector = pafs.FileSelector(path, recursive=recursive, allow_not_found=True)
    entries = (
        Entry(info.path[len(path.rstrip("/")) + 1 :], info.size, _stamp(info))
        for info in filesystem.get_file_info(selector)
        if info.type == pafs.FileType.File and not DRAFTED.search(info.base_name)
    )
    return sorted(entries, key=lambda entry: entry.path)


def stamp_of(uri: str, folder: str) -> str:
    """The stamp of what `fetch` put into `folder`; for local files, of the file as it is now."""
    entry = look(uri)
    return entry.stamp if entry else ""


def folders(uri: str) -> list[str]:
    """Names of the folders right below a folder, sorted; [] where there is no such folder."""
    filesystem, path = resolve(uri)
    found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """All bytes of a file. Raises FileNotFoundError, or OSError with the store's reason."""
    if is_local(uri):
        return Path(normal(uri)).read_bytes()
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def open_random(uri: str) -> Any:
    """A seekable file with `read_at(size, offset)`; local files are mapped into memory."""
    filesystem, path = resolve(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return pa.memory_map(path)
    return filesystem.open_input_file(path)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file so that readers see all of it or nothing."""
    with draft(uri) as path:
        Path(path).write_bytes(data)


def create(uri: str, data: bytes) -> bool:
    """Write a file only if none is there; False, and nothing written, if there is one."""
    if exists(uri):
        return False
    write_bytes(uri, data)
    return True


@contextmanager
def draft(uri: str) -> Iterator[str]:
    """A local path to write to; when the block ends well, the file takes its place at `uri` at once.

    The draft of a local file lies beside it, so that the rename is atomic; one for an object store lies in the
    temporary folder. A block that raises leaves nothing.
    """
    path = draft_path(uri)
    try:
        yield path
        place(path, uri)
    finally:
        Path(path).unlink(missing_ok=True)


def draft_path(uri: str) -> str:
    """A fresh local name for a draft of `uri`, in a folder that exists."""
    unique = f"{DRAFT}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    if is_local(uri):
        Path(normal(uri)).parent.mkdir(parents=True, exist_ok=True)
        return normal(uri) + unique
    import tempfile

    return str(Path(tempfile.gettempdir(), uri.rsplit("/", 1)[-1] + unique))


def place(path: str, uri: str) -> None:
    """Move a finished local draft to `uri`, atomically and on disk before it is seen."""
    if is_local(uri):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(path, normal(uri))
        return
    filesystem, target = resolve(uri)
    # pyarrow completes an upload even when the writing block raised; so nothing may raise in it but the upload itself
    with open(path, "rb") as source, filesystem.open_output_stream(target) as sink:
        shutil.copyfileobj(source, sink, COPY_BYTES)
    os.unlink(path)


def remove(uri: str) -> None:
    """Delete a file; it is no error if it is not there."""
    if is_local(uri):
        Path(normal(uri)).unlink(missing_ok=True)
        return
    filesystem, path = resolve(uri)
    if exists(uri):
        filesystem.delete_file(path)


def remove_drafts(root: str) -> None:
    """Delete what a killed run left half-written below a local root; object stores never hold drafts."""
    if not is_local(root):
        return
    for path in Path(normal(root)).glob(f"**/*{DRAFT}-*"):
        path.unlink(missing_ok=True)


def fetch(uri: str, folder: str) -> str:
    """A local path with the bytes of `uri`: itself, or a copy in `folder`, made once.

    Raises OSError where it cannot be read.
    """
    if is_local(uri):
        return normal(uri)
    import hashlib

    name = hashlib.sha256(uri.encode()).hexdigest()[:24]
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        filesystem, source = resolve(uri)
        with open(path + DRAFT, "wb") as sink, filesystem.open_input_stream(source) as stream:
            shutil.copyfileobj(stream, sink, COPY_BYTES)
        os.replace(path + DRAFT, path)
    return path
