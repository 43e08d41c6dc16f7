"""What lies below a prefix of an object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import InvalidPathError

from manifests import remote_files
from manifests.filesystems import resolve, store_of
from manifests.object_store import Entry, entry_of, fault_of, located, look
from manifests.retries import repeated
from manifests.store_errors import errors

if TYPE_CHECKING:
    from obstore import ListResult, ObjectMeta

PAGE = 1000  # objects that a store tells of by one request
HEADS = 16  # requests at once where many small ones are made


def listing(uri: str, recursive: bool) -> list[Entry]:
    """Objects below a prefix, in no order. Markers of empty folders (`folder/`, 0 bytes) are left out.

    One request for 1,000 objects, and where `recursive`, one HEAD for each empty object: it may be a marker.
    Objects whose keys are no paths (`a//b`, `a/../b`) come with their `fault`; such a listing costs one HEAD for each
    other object, since obstore refuses it as a whole and pyarrow gives no ETags. Keys that begin with `/` are taken
    for keys without it.
    """
    _, key = located(uri)
    try:
        metas = list(_below(uri)) if recursive else list(_level(uri)["objects"])
    except FileNotFoundError:
        return []
    except InvalidPathError:
        return _listing_by_names(uri, recursive)
    return _without_markers(uri, key, metas) if recursive else _entries(key, metas)  # without depth markers are folders


def listing_up_to(uri: str, limit: int) -> list[Entry] | None:
    """Objects at any depth below a prefix, in no order; None if there are more than `limit`, or keys that are no paths.

    One request for 1,000 objects, and one HEAD for each empty object, as in `listing`.
    """
    _, key = located(uri)
    try:
        metas = list(islice(_below(uri), limit + 1))
    except FileNotFoundError:
        return []
    except InvalidPathError:
        return None
    return None if len(metas) > limit else _without_markers(uri, key, metas)


def _below(uri: str) -> Iterator[ObjectMeta]:
    """Objects at any depth below a prefix; each page of 1,000 is asked for until it comes."""
    pages = Pages(uri)
    while page := repeated(store_of(uri), pages.following):
        yield from page


class Pages:
    """The pages of a listing, one at a time; after a failed request the listing goes on behind the last page."""

    def __init__(self, uri: str) -> None:
        """Nothing is asked yet."""
        self.uri, self.last = uri, ""
        self.stream: Iterator[Sequence[ObjectMeta]] | None = None

    def following(self) -> Sequence[ObjectMeta]:
        """Return the next page; an empty one is the end. Raises PassingFault, or another OSError."""
        store, key = located(self.uri)
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


def _level(uri: str) -> ListResult[Sequence[ObjectMeta]]:
    """Objects and folders right below a prefix. obstore asks for all pages; after a fault it makes each one again."""
    tries = count()

    def whole() -> ListResult[Sequence[ObjectMeta]]:
        store, key = located(uri, retries=next(tries) > 0)
        with errors(uri):
            return obstore.list_with_delimiter(store, key or None)

    return repeated(store_of(uri), whole)


def folders(uri: str) -> list[str]:
    """Names of the folders right below a prefix, by one request for 1,000."""
    return [path.rsplit("/", 1)[-1] for path in _level(uri)["common_prefixes"]]


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
    start = len(resolve(uri)[1].rstrip("/")) + 1
    files = [(i.path[start:], i.size or 0, i.mtime_ns) for i in remote_files.below(uri, recursive)]
    faulty = [Entry(name, size, str(mtime or ""), fault_of(name)) for name, size, mtime in files if fault_of(name)]
    good = [name for name, *_ in files if not fault_of(name)]
    with ThreadPoolExecutor(HEADS) as pool:
        seen = list(pool.map(lambda name: look(f"{uri}/{name}"), good))
    return faulty + [Entry(name, e.size, e.stamp) for name, e in zip(good, seen, strict=True) if e is not None]
