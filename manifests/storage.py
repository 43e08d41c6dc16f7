"""All file operations of a run, on local paths and object stores alike, by URI.

Object stores (s3://, gs://, abfs://) are read through obstore, see `manifests.object_store`; hdfs:// and the file
systems of fsspec through `pyarrow.fs`. Writes are atomic: locally by draft and rename; in object stores an object
appears when its upload is complete. Every function raises OSError if a store does not answer.
"""

from __future__ import annotations

import _thread
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

from manifests import drafts, object_download, object_listing, object_store, remote_files, snapshot
from manifests.drafts import DRAFT
from manifests.filesystems import is_local, join, normal, resolve
from manifests.full_disk import name_full_disk_file
from manifests.object_file import ObjectFile
from manifests.object_store import Entry

__all__ = ["DRAFT", "Entry", "is_local", "join", "normal", "resolve"]  # re-exported from other modules

STAMP = ".stamp"  # suffix to the name of a fetched copy: the file that holds its stamp


def exists(uri: str) -> bool:
    """Return whether a file (not a folder) exists."""
    return os.path.isfile(normal(uri)) if is_local(uri) else stat(uri) is not None


def stat(uri: str) -> Entry | None:
    """Return the listing entry of the file at `uri`; None if the file does not exist. Raises OSError."""
    if object_store.holds(uri):
        return snapshot.cached("stat", uri, lambda: object_store.stat(uri))
    info = remote_files.stat(uri)
    return Entry(info.path, info.size, str(info.mtime_ns or "")) if info.type == pafs.FileType.File else None


def listing(uri: str, recursive: bool = False) -> list[Entry]:
    """List the files below a folder, sorted by path, without drafts; [] if the folder does not exist.

    Objects that cannot be read by their names have a `fault`."""
    found = _listing(uri, recursive)
    return sorted((e for e in found if not drafts.NAME.search(e.path)), key=lambda entry: entry.path)


def listing_up_to(uri: str, limit: int) -> list[Entry] | None:
    """List the files at any depth below a prefix; None if there are over `limit`, or the store has no such listing."""
    found = object_listing.listing_up_to(uri, limit) if object_store.holds(uri) else None
    return None if found is None else [entry for entry in found if not drafts.NAME.search(entry.path)]


def _listing(uri: str, recursive: bool) -> list[Entry]:
    if object_store.holds(uri):
        return snapshot.cached(f"listing {recursive}", uri, lambda: object_listing.listing(uri, recursive))
    start = len(resolve(uri)[1].strip("/")) + 1  # some file systems of fsspec start all paths with a slash
    found = remote_files.below(uri, recursive)
    return [Entry(info.path.lstrip("/")[start:], info.size, str(info.mtime_ns or "")) for info in found]


def folders(uri: str) -> list[str]:
    """Return the sorted names of the folders directly below a folder; [] if the folder does not exist."""
    if object_store.holds(uri):
        return sorted(object_listing.folders(uri))
    found = remote_files.entries(uri, recursive=False)
    return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """Read all bytes of a file. Raises FileNotFoundError; OSError if the store fails or sends too few bytes."""
    if is_local(uri):
        return Path(normal(uri)).read_bytes()
    if not object_store.holds(uri):
        return remote_files.read(uri)
    data = read_if_there(uri)
    if data is None:
        raise FileNotFoundError(2, "no such object", uri)
    return data


def read_up_to(uri: str, limit: int) -> bytes | None:
    """Read all bytes of a file of at most `limit` bytes, by one request; None for a larger file. Raises OSError."""
    if object_store.holds(uri):
        return object_store.read_up_to(uri, limit)
    found = stat(uri)
    return None if found is not None and found.size > limit else read_bytes(uri)


def read_if_there(uri: str) -> bytes | None:
    """Read all bytes of a file, by one request; None if the file does not exist."""
    if object_store.holds(uri):
        return snapshot.cached("read", uri, lambda: object_store.read_if_there(uri))
    try:
        return read_bytes(uri)
    except FileNotFoundError:
        return None


def open_random(uri: str) -> Any:
    """Open a seekable file with `read_at(size, offset)`; local files are memory-mapped."""
    if object_store.holds(uri):
        return ObjectFile(uri)
    if is_local(uri):
        return pa.memory_map(normal(uri))
    return remote_files.ask(uri, lambda filesystem, path: filesystem.open_input_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file atomically."""
    if object_store.holds(uri) and len(data) <= object_store.SMALL:
        object_store.write(uri, data)
        return
    with draft(uri) as path:
        Path(path).write_bytes(data)


def create(uri: str, data: bytes) -> bool:
    """Create a file atomically, unless it exists. Return whether the file now has these bytes.

    Two writers of the same bytes both get True, so a retry after a lost answer succeeds. Without hard links on the file
    system or conditional writes in the store (hdfs://, fsspec), the check and the write are two steps: two concurrent
    writers may both write.
    """
    if object_store.holds(uri):
        return object_store.create(uri, data)
    if is_local(uri):
        return _link(normal(uri), data)
    if exists(uri):
        return read_bytes(uri) == data
    write_bytes(uri, data)
    return True


def _link(path: str, data: bytes) -> bool:
    name = draft_path(path)
    try:
        with name_full_disk_file(path), open(name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return _try_link(name, path) or Path(path).read_bytes() == data
    finally:
        Path(name).unlink(missing_ok=True)


def _try_link(name: str, path: str) -> bool:
    try:
        os.link(name, path)
    except FileExistsError:
        return False
    except OSError:  # this file system has no hard links
        if os.path.exists(path):
            return False
        os.replace(name, path)
    return True


@contextmanager
def draft(uri: str) -> Iterator[str]:
    """Give a local path to write to. After the block the file is moved to `uri` atomically.

    The draft of a local file is in the same folder, so that the rename is atomic; that of an object is in the temporary
    folder. If the block raises, the draft is deleted.
    """
    path = draft_path(uri)
    try:
        with name_full_disk_file(uri):
            yield path
            place(path, uri)
    finally:
        Path(path).unlink(missing_ok=True)


def draft_path(uri: str) -> str:
    """Return a new local path for a draft of `uri`, in an existing folder."""
    if is_local(uri):
        Path(normal(uri)).parent.mkdir(parents=True, exist_ok=True)
        return drafts.name(normal(uri))
    folder = drafts.folder()
    drafts.sweep_once(folder)
    return str(folder / drafts.name(uri.rsplit("/", 1)[-1]))


def place(path: str, uri: str) -> None:
    """Move a finished local draft to `uri` atomically, after the data are synced to disk."""
    if is_local(uri):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(path, normal(uri))
        return
    if object_store.holds(uri):
        object_store.upload(path, uri)
    else:
        _call_uninterrupted(lambda: remote_files.upload(path, uri))
    os.unlink(path)


def _call_uninterrupted(call: Callable[[], None]) -> None:
    """Run a call in a thread, where signal handlers do not interrupt it. A handler's exception is raised after it."""
    ended: list[BaseException | None] = []
    lock = _thread.allocate_lock()
    lock.acquire()

    def run() -> None:
        try:
            call()
            ended.append(None)
        except BaseException as failure:  # noqa: BLE001  raised by the caller
            ended.append(failure)
        finally:
            lock.release()

    raised: BaseException | None = None
    _thread.start_new_thread(run, ())  # the locks of `threading` are not safe if signal handlers raise
    while not ended:
        try:
            lock.acquire(timeout=1)
        except BaseException as interrupt:  # noqa: BLE001  raised below
            raised = interrupt
    if (error := raised or ended[0]) is not None:
        raise error


def remove(uri: str) -> None:
    """Delete a file if it exists."""
    if is_local(uri):
        Path(normal(uri)).unlink(missing_ok=True)
    elif object_store.holds(uri):
        object_store.remove(uri)
    elif exists(uri):
        remote_files.remove(uri)


def remove_folder(uri: str) -> None:
    """Delete a folder with all files below, if it exists."""
    if is_local(uri):
        shutil.rmtree(normal(uri), ignore_errors=True)
    for entry in listing(uri, recursive=True):
        remove(join(uri, entry.path))


def remove_drafts(root: str) -> None:
    """Delete the drafts of killed processes, below a local root and in this machine's temporary folder.

    No other process may be writing below the root.
    """
    if is_local(root):
        for path in Path(normal(root)).glob(f"**/*{DRAFT}-*"):
            path.unlink(missing_ok=True)
    drafts.sweep(drafts.folder())


def fetch(uri: str, folder: str) -> str:
    """Return a local path with the bytes of `uri`: the path itself, or a copy in `folder` that is downloaded once.

    Raises OSError if the file cannot be read, or if fewer bytes arrive than the store announced.
    """
    if is_local(uri):
        return normal(uri)
    path = copy_path(uri, folder)
    if not os.path.exists(path):
        partial = drafts.name(path)
        try:
            stamp = _download(uri, partial)
            Path(path + STAMP).write_text(stamp)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    return path


def stamp_of(uri: str, folder: str) -> str:
    """Return the stamp of the copy that `fetch` made in `folder`; for a local file, the file's current stamp.

    The stamp equals `Entry.stamp` unless the file was replaced. Raises FileNotFoundError if there is no copy.
    """
    return str(os.stat(normal(uri)).st_mtime_ns) if is_local(uri) else Path(copy_path(uri, folder) + STAMP).read_text()


def copy_path(uri: str, folder: str) -> str:
    """Return the path of the copy that `fetch` makes of a remote file."""
    return os.path.join(folder, hashlib.sha256(uri.encode()).hexdigest()[:24])


def _download(uri: str, path: str) -> str:
    if object_store.holds(uri):
        return object_download.download(uri, path)
    entry = stat(uri)
    if entry is None:
        raise FileNotFoundError(2, "no such file", uri)
    remote_files.download(uri, path, entry.size)
    return entry.stamp
