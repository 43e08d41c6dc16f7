"""Every path of a run goes through here: a folder on this machine or an object store, named by one URI.

Object stores (s3://, gs://, abfs://) go through obstore, see `manifests.object_store`; hdfs:// and what fsspec knows
through `pyarrow.fs`. A write is seen whole or not at all: locally by draft and rename, in object stores because an
object appears when its upload is complete. Every function raises OSError where a store does not answer.
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
from manifests.full_disk import file_named
from manifests.object_file import ObjectFile
from manifests.object_store import Entry

__all__ = ["DRAFT", "Entry", "is_local", "join", "normal", "resolve"]  # made elsewhere, named here

STAMP = ".stamp"  # after the name of a fetched copy: the file that holds its stamp


def exists(uri: str) -> bool:
    """Whether a file (not a folder) is there."""
    return os.path.isfile(normal(uri)) if is_local(uri) else look(uri) is not None


def look(uri: str) -> Entry | None:
    """The file at `uri` as a listing shows it, or None if there is none. Raises OSError where that cannot be told."""
    if object_store.holds(uri):
        return snapshot.kept("look", uri, lambda: object_store.look(uri))
    info = remote_files.look(uri)
    return Entry(info.path, info.size, str(info.mtime_ns or "")) if info.type == pafs.FileType.File else None


def listing(uri: str, recursive: bool = False) -> list[Entry]:
    """Files below a folder, sorted by path; [] where there is no such folder. Drafts are not shown.

    Objects that cannot be read under their names are shown with their `fault`."""
    found = _listing(uri, recursive)
    return sorted((e for e in found if not drafts.NAME.search(e.path)), key=lambda entry: entry.path)


def listing_up_to(uri: str, limit: int) -> list[Entry] | None:
    """Files at any depth below a prefix; None if there are more than `limit`, or if this store cannot stop there."""
    found = object_listing.listing_up_to(uri, limit) if object_store.holds(uri) else None
    return None if found is None else [entry for entry in found if not drafts.NAME.search(entry.path)]


def _listing(uri: str, recursive: bool) -> list[Entry]:
    if object_store.holds(uri):
        return snapshot.kept(f"listing {recursive}", uri, lambda: object_listing.listing(uri, recursive))
    start = len(resolve(uri)[1].strip("/")) + 1  # some file systems of fsspec begin all paths with a slash
    found = remote_files.below(uri, recursive)
    return [Entry(info.path.lstrip("/")[start:], info.size, str(info.mtime_ns or "")) for info in found]


def folders(uri: str) -> list[str]:
    """Names of the folders right below a folder, sorted; [] where there is no such folder."""
    if object_store.holds(uri):
        return sorted(object_listing.folders(uri))
    found = remote_files.entries(uri, recursive=False)
    return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """All bytes of a file. Raises FileNotFoundError, or OSError with the store's reason or if some are missing."""
    if is_local(uri):
        return Path(normal(uri)).read_bytes()
    if not object_store.holds(uri):
        return remote_files.read(uri)
    data = read_if_there(uri)
    if data is None:
        raise FileNotFoundError(2, "no such object", uri)
    return data


def read_up_to(uri: str, limit: int) -> bytes | None:
    """All bytes of a file of at most `limit` bytes; None for a larger one. One request. Raises OSError."""
    if object_store.holds(uri):
        return object_store.read_up_to(uri, limit)
    found = look(uri)
    return None if found is not None and found.size > limit else read_bytes(uri)


def read_if_there(uri: str) -> bytes | None:
    """All bytes of a file; None where there is none. One request, where `exists` before `read_bytes` would be two."""
    if object_store.holds(uri):
        return snapshot.kept("read", uri, lambda: object_store.read_if_there(uri))
    try:
        return read_bytes(uri)
    except FileNotFoundError:
        return None


def open_random(uri: str) -> Any:
    """A seekable file with `read_at(size, offset)`; local files are mapped into memory."""
    if object_store.holds(uri):
        return ObjectFile(uri)
    if is_local(uri):
        return pa.memory_map(normal(uri))
    return remote_files.ask(uri, lambda filesystem, path: filesystem.open_input_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file so that readers see all of it or nothing."""
    if object_store.holds(uri) and len(data) <= object_store.SMALL:
        object_store.write(uri, data)
        return
    with draft(uri) as path:
        Path(path).write_bytes(data)


def create(uri: str, data: bytes) -> bool:
    """Write a file only if none is there, in one step. Return whether the file has these bytes now.

    So two writers of the same bytes both get True, and a write that is sent again after a lost answer is no failure.
    Where neither the file system has hard links nor the store conditions (hdfs://, fsspec), it is asked for first and
    written then: two writers at the same moment may both write.
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
        with file_named(path), open(name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return _linked(name, path) or Path(path).read_bytes() == data
    finally:
        Path(name).unlink(missing_ok=True)


def _linked(name: str, path: str) -> bool:
    try:
        os.link(name, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links here
        if os.path.exists(path):
            return False
        os.replace(name, path)
    return True


@contextmanager
def draft(uri: str) -> Iterator[str]:
    """A local path to write to; when the block ends well, the file takes its place at `uri` at once.

    The draft of a local file lies beside it, so that the rename is atomic; one for an object store lies in the
    temporary folder. A block that raises leaves nothing.
    """
    path = draft_path(uri)
    try:
        with file_named(uri):
            yield path
            place(path, uri)
    finally:
        Path(path).unlink(missing_ok=True)


def draft_path(uri: str) -> str:
    """A fresh local name for a draft of `uri`, in a folder that exists."""
    if is_local(uri):
        Path(normal(uri)).parent.mkdir(parents=True, exist_ok=True)
        return drafts.name(normal(uri))
    folder = drafts.folder()
    drafts.sweep_once(folder)
    return str(folder / drafts.name(uri.rsplit("/", 1)[-1]))


def place(path: str, uri: str) -> None:
    """Move a finished local draft to `uri`, atomically and on disk before it is seen."""
    if is_local(uri):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(path, normal(uri))
        return
    if object_store.holds(uri):
        object_store.upload(path, uri)
    else:
        _uninterrupted(lambda: remote_files.upload(path, uri))
    os.unlink(path)


def _uninterrupted(call: Callable[[], None]) -> None:
    """Make a call in a thread, which no signal handler interrupts. What a handler raises is raised after the call."""
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
    _thread.start_new_thread(run, ())  # threading's own locks are not safe against exceptions of signal handlers
    while not ended:
        try:
            lock.acquire(timeout=1)
        except BaseException as interrupt:  # noqa: BLE001  raised below
            raised = interrupt
    if (error := raised or ended[0]) is not None:
        raise error


def remove(uri: str) -> None:
    """Delete a file; it is no error if it is not there."""
    if is_local(uri):
        Path(normal(uri)).unlink(missing_ok=True)
    elif object_store.holds(uri):
        object_store.remove(uri)
    elif exists(uri):
        remote_files.remove(uri)


def remove_folder(uri: str) -> None:
    """Delete a folder with all files below it; it is no error if it is not there."""
    if is_local(uri):
        shutil.rmtree(normal(uri), ignore_errors=True)
    for entry in listing(uri, recursive=True):
        remove(join(uri, entry.path))


def remove_drafts(root: str) -> None:
    """Delete what killed processes left half-written: below a local root, and in this machine's temporary folder.

    Nobody else may be writing below the root.
    """
    if is_local(root):
        for path in Path(normal(root)).glob(f"**/*{DRAFT}-*"):
            path.unlink(missing_ok=True)
    drafts.sweep(drafts.folder())


def fetch(uri: str, folder: str) -> str:
    """A local path with the bytes of `uri`: itself, or a copy in `folder`, made once.

    Raises OSError where it cannot be read, or where fewer bytes come than the store says there are.
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
    """The stamp of what `fetch` put into `folder` (for local files: of the file as it is now).

    It equals `Entry.stamp` unless the file was replaced. Raises FileNotFoundError where nothing was fetched.
    """
    return str(os.stat(normal(uri)).st_mtime_ns) if is_local(uri) else Path(copy_path(uri, folder) + STAMP).read_text()


def copy_path(uri: str, folder: str) -> str:
    """Where `fetch` puts its copy of a remote file."""
    return os.path.join(folder, hashlib.sha256(uri.encode()).hexdigest()[:24])


def _download(uri: str, path: str) -> str:
    if object_store.holds(uri):
        return object_download.download(uri, path)
    entry = look(uri)
    if entry is None:
        raise FileNotFoundError(2, "no such file", uri)
    remote_files.download(uri, path, entry.size)
    return entry.stamp
