"""List the objects and folders below a prefix of an object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import InvalidPathError

from manifests import remote_files
from manifests.filesystems import resolve, store_of
from manifests.object_store import Entry, entry_of, fault_of, locate, stat
from manifests.retries import retry
from manifests.store_errors import errors

if TYPE_CHECKING:
    from obstore import ListResult, ObjectMeta

PAGE = 1000  # objects per page of a store's listing
HEADS = 16  # concurrent HEAD requests


def listing(uri: str, recursive: bool) -> list[Entry]:
    """List the objects below a prefix, in no order, without markers of empty folders (`folder/`, 0 bytes).

    Makes one request per 1,000 objects and, if `recursive`, one HEAD per empty object, which may be a marker.
    Objects whose keys are no valid paths (`a//b`, `a/../b`) get a `fault`. A listing with such keys costs one HEAD per
    other object, since obstore rejects the whole listing and pyarrow gives no ETags. A `/` at the start of a key is
    ignored.
    """
    _, key = locate(uri)
    try:
        metas = list(_list_all(uri)) if recursive else list(_list_level(uri)["objects"])
    except FileNotFoundError:
        return []
    except InvalidPathError:
        return _listing_by_names(uri, recursive)
    return (
        _drop_markers(uri, key, metas) if recursive else _make_entries(key, metas)
    )  # a listing of one level shows markers as folders


def listing_up_to(uri: str, limit: int) -> list[Entry] | None:
    """List the objects at any depth below a prefix, in no order; None if there are over `limit`, or invalid keys.

    Makes one request per 1,000 objects and one HEAD per empty object, as in `listing`.
    """
    _, key = locate(uri)
    try:
        metas = list(islice(_list_all(uri), limit + 1))
    except FileNotFoundError:
        return []
    except InvalidPathError:
        return None
    return None if len(metas) > limit else _drop_markers(uri, key, metas)


def _list_all(uri: str) -> Iterator[ObjectMeta]:
    """Yield the objects at any depth below a prefix; each page of 1,000 is retried on its own."""
    pages = Pages(uri)
    while page := retry(store_of(uri), pages.next_page):
        yield from page


class Pages:
    """The pages of a listing, one at a time. After a failed request, the listing continues after the last page."""

    def __init__(self, uri: str) -> None:
        """Make no request yet."""
        self.uri, self.last = uri, ""
        self.stream: Iterator[Sequence[ObjectMeta]] | None = None

    def next_page(self) -> Sequence[ObjectMeta]:
        """Return the next page; an empty page ends the listing. Raises PassingFault or another OSError."""
        store, key = locate(self.uri)
        try:
            with errors(self.uri):
                if self.stream is None:
                    self.stream = iter(obstore.list(store, key or None, offset=self.last or None, chunk_size=PAGE))
                page = next(self.stream, [])
        except BaseException:
            self.stream = None
            raise
        self.last = page[-1]["path"] if page else self.last
        return page


def _list_level(uri: str) -> ListResult[Sequence[ObjectMeta]]:
    """List the objects and folders directly below a prefix. obstore requests all pages and retries each of them."""
    tries = count()

    def whole() -> ListResult[Sequence[ObjectMeta]]:
        store, key = locate(uri, retries=next(tries) > 0)
        with errors(uri):
            return obstore.list_with_delimiter(store, key or None)

    return retry(store_of(uri), whole)


def folders(uri: str) -> list[str]:
    """Return the names of the folders directly below a prefix, by one request per 1,000."""
    return [path.rsplit("/", 1)[-1] for path in _list_level(uri)["common_prefixes"]]


def _make_entries(key: str, metas: Iterable[ObjectMeta]) -> list[Entry]:
    start = len(key) + 1 if key else 0
    return [entry_of(meta, meta["path"][start:]) for meta in metas if meta["path"] != key]


def _drop_markers(uri: str, key: str, metas: Iterable[ObjectMeta]) -> list[Entry]:
    entries = _make_entries(key, metas)
    folders = {entry.path.rpartition("/")[0] for entry in entries}
    return [e for e in entries if e.size or not _is_marker(uri, e.path, folders)]


def _is_marker(uri: str, path: str, folders: set[str]) -> bool:
    """Return whether an empty object is a folder's marker, whose key ends with a slash (obstore strips the slash)."""
    return path in folders or stat(f"{uri}/{path}") is None


def _listing_by_names(uri: str, recursive: bool) -> list[Entry]:
    start = len(resolve(uri)[1].rstrip("/")) + 1
    files = [(i.path[start:], i.size or 0, i.mtime_ns) for i in remote_files.below(uri, recursive)]
    faulty = [Entry(name, size, str(mtime or ""), fault_of(name)) for name, size, mtime in files if fault_of(name)]
    good = [name for name, *_ in files if not fault_of(name)]
    with ThreadPoolExecutor(HEADS) as pool:
        entries = list(pool.map(lambda name: stat(f"{uri}/{name}"), good))
    return faulty + [Entry(name, e.size, e.stamp) for name, e in zip(good, entries, strict=True) if e is not None]
