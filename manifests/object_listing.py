"""What lies below a prefix of an object store."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import InvalidPathError
from pyarrow import fs as pafs

from manifests.filesystems import resolve
from manifests.object_store import Entry, entry_of, errors, fault_of, located, look

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

HEADS = 16  # requests at once where many small ones are made


def listing(uri: str, recursive: bool) -> list[Entry]:
    """Objects below a prefix, in no order. Markers of empty folders (`folder/`, 0 bytes) are left out.

    One request for 1,000 objects, and where `recursive`, one HEAD for each empty object: it may be a marker.
    Objects whose keys are no paths (`a//b`, `a/../b`) come with their `fault`; such a listing costs one HEAD for each
    other object, since obstore refuses it as a whole and pyarrow gives no ETags. Keys that begin with `/` are taken
    for keys without it.
    """
    store, key = located(uri)
    try:
        with errors(uri):
            metas = _below(store, key, recursive)
    except FileNotFoundError:
        return []
    except InvalidPathError:
        return _listing_by_names(uri, recursive)
    return _without_markers(uri, key, metas) if recursive else _entries(key, metas)  # without depth markers are folders


def listing_up_to(uri: str, limit: int) -> list[Entry] | None:
    """Objects at any depth below a prefix, in no order; None if there are more than `limit`, or keys that are no paths.

    One request for 1,000 objects, and one HEAD for each empty object, as in `listing`.
    """
    store, key = located(uri)
    metas: list[ObjectMeta] = []
    try:
        with errors(uri):
            for chunk in obstore.list(store, key or None, chunk_size=1000):
                metas += chunk
                if len(metas) > limit:
                    return None
    except FileNotFoundError:
        return []
    except InvalidPathError:
        return None
    return _without_markers(uri, key, metas)


def _below(store: ObjectStore, key: str, recursive: bool) -> list[ObjectMeta]:
    if recursive:
        return [meta for chunk in obstore.list(store, key or None, chunk_size=1000) for meta in chunk]
    return list(obstore.list_with_delimiter(store, key or None)["objects"])


def folders(uri: str) -> list[str]:
    """Names of the folders right below a prefix, by one request for 1,000."""
    store, key = located(uri)
    with errors(uri):
        return [path.rsplit("/", 1)[-1] for path in obstore.list_with_delimiter(store, key or None)["common_prefixes"]]


def _entries(key: str, metas: Iterable[ObjectMeta]) -> list[Entry]:
    start = len(key) + 1 if key else 0
    return [entry_of(meta, meta["path"][start:]) for meta in metas if meta["path"] != key]


def _without_markers(uri: str, key: str, metas: Iterable[ObjectMeta]) -> list[Entry]:
    entries = _entries(key, metas)
    folders = {entry.path.rpartition("/")[0] for entry in entries}
    return [e for e in entries if e.size or not _is_marker(uri, e.path, folders)]


def _is_marker(uri: str, path: str, folders: set[str]) -> bool:
    """Whether an empty object is the marker of a folder: obstore cuts the slash at the end of its key."""
    return path in folders or look(f"{uri}/{path}") is None


def _listing_by_names(uri: str, recursive: bool) -> list[Entry]:
    filesystem, path = resolve(uri)
    start = len(path.rstrip("/")) + 1
    infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=recursive, allow_not_found=True))
    files = [(i.path[start:], i.size or 0, i.mtime_ns) for i in infos if i.type == pafs.FileType.File]
    faulty = [Entry(name, size, str(mtime or ""), fault_of(name)) for name, size, mtime in files if fault_of(name)]
    good = [name for name, *_ in files if not fault_of(name)]
    with ThreadPoolExecutor(HEADS) as pool:
        seen = list(pool.map(lambda name: look(f"{uri}/{name}"), good))
    return faulty + [Entry(name, e.size, e.stamp) for name, e in zip(good, seen, strict=True) if e is not None]
