"""Look up files that are named one by one: size, stamp and fault of each, and the companions in their folders.

Requests to a store are few: one LIST per folder returns its files and their companions. If many folders share a prefix
with little else below it, one LIST of the prefix returns all of them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from manifests import storage
from manifests.ledger import one_line
from manifests.retries import StoreUnreachable
from manifests.storage import Entry
from pipeline.sources.companions import is_read
from pipeline.sources.folders import local_entry

QUESTIONS = 32  # to a store at once: each waits some 50 ms
MANY = 32  # folders of a bucket: fewer are asked for one by one in the time of two requests
# Objects below a common prefix, a folder that is named. The listing of a prefix comes in pages of 1,000, one after the
# other; with ten objects a folder it takes about as long as a request for each folder, QUESTIONS at once.
OBJECTS_A_FOLDER = 10
NOT_THERE = "no such file"

Folder = Mapping[str, Entry] | str | None  # entries by uri; or why it cannot be listed now; or None: it never can


def look_up(uris: Sequence[str], beside: dict[str, Entry]) -> dict[str, Entry]:
    """Return an entry for each URI. Add subtitles and metadata of the same folders to `beside`, by URI."""
    folders = {_folder(uri) for uri in uris}
    with ThreadPoolExecutor(QUESTIONS) as pool:
        local = sorted(filter(storage.is_local, folders))
        for entries in pool.map(_local_companions, local):
            beside.update({entry.path: entry for entry in entries})
        listings = _list_folders(sorted(folders.difference(local)), pool)
        unknown = [uri for uri in uris if not storage.is_local(uri) and listings.get(_folder(uri)) is None]
        requested = dict(zip(unknown, pool.map(_request_entry, unknown), strict=True))
    for listed in listings.values():
        if isinstance(listed, Mapping):
            beside.update({uri: entry for uri, entry in listed.items() if is_read(uri) and not entry.fault})
    return {uri: requested.get(uri) or _entry(uri, listings.get(_folder(uri))) for uri in uris}


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]


def _entry(uri: str, folder: Folder) -> Entry:
    if isinstance(folder, str):  # not without its subtitles, which may well be there
        return Entry(uri, 0, fault=folder)
    if folder is not None:
        return folder.get(uri) or Entry(uri, 0, fault=NOT_THERE)
    return local_entry(uri) if os.path.lexists(uri) else Entry(uri, 0, fault=NOT_THERE)


def _request_entry(uri: str) -> Entry:
    try:
        entry = storage.stat(uri)
    except StoreUnreachable:
        raise
    except (OSError, ValueError, ImportError) as error:
        return Entry(uri, 0, fault=f"cannot be read: {one_line(error)}")
    return replace(entry, path=uri) if entry else Entry(uri, 0, fault=NOT_THERE)


def _local_companions(folder: str) -> list[Entry]:
    try:
        with os.scandir(folder) as entries:
            found = [local_entry(entry.path) for entry in entries if is_read(entry.name)]
    except (OSError, ValueError):
        return []  # the folder's files carry the fault themselves
    return [entry for entry in found if not entry.fault]


def _list_folders(folders: Sequence[str], pool: ThreadPoolExecutor) -> dict[str, Folder]:
    """Return the entries of each folder in a store."""
    buckets = defaultdict(list)
    for folder in folders:
        buckets["/".join(folder.split("/")[:3])].append(folder)
    listings: dict[str, Folder] = {}
    for group in pool.map(_by_common_prefix, buckets.values()):
        listings |= group
    rest = [folder for folder in folders if folder not in listings]
    return listings | dict(zip(rest, pool.map(_list_folder, rest), strict=True))


def _by_common_prefix(folders: Sequence[str]) -> Mapping[str, Mapping[str, Entry]]:
    """List many folders of a bucket by one request; return {} if one request per folder is faster."""
    if len(folders) < MANY:
        return {}
    prefix = "/".join(_common([folder.split("/") for folder in folders]))
    try:
        entries = storage.listing_up_to(prefix, OBJECTS_A_FOLDER * len(folders))
    except StoreUnreachable:
        raise
    except (OSError, ValueError, ImportError):
        return {}  # the listings of the folders tell what is wrong
    if entries is None:
        return {}
    listings: dict[str, dict[str, Entry]] = {folder: {} for folder in folders}
    for uri, entry in _by_uri(prefix, entries).items():
        if (entries_of_folder := listings.get(_folder(uri))) is not None:
            entries_of_folder[uri] = entry
    return listings


def _common(paths: Sequence[list[str]]) -> list[str]:
    """Return the leading components that all paths share."""
    first, last = min(paths), max(paths)
    same = next((n for n, (left, right) in enumerate(zip(first, last, strict=False)) if left != right), None)
    return first[:same] if same is not None else min(first, last, key=len)


def _list_folder(folder: str) -> Folder:
    if folder.endswith("/"):  # a key with `//`: it must be asked for itself
        return None
    try:
        return _by_uri(folder, storage.listing(folder))
    except (FileNotFoundError, PermissionError, ValueError, ImportError):
        return None
    except StoreUnreachable:
        raise
    except OSError as error:
        return f"cannot be read: {one_line(error)}"


def _by_uri(folder: str, entries: Iterable[Entry]) -> dict[str, Entry]:
    found = (replace(entry, path=storage.join(folder, entry.path)) for entry in entries)
    return {entry.path: entry for entry in found}
