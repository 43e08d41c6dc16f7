"""From what the user named to sources: files, folders, globs, object-store prefixes, and lists of them.

Everything named gets a source, so that everything gets a row: what cannot be used carries its `fault`. Files of any
extension count, since extensions lie; only subtitles that lie beside a file of the same name belong to that file.
A folder that holds a run, this one or another, is never an input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from manifests import storage
from manifests.ledger import one_line
from manifests.records import Source
from manifests.sources import source_id
from manifests.storage import Entry
from pipeline.errors import ConfigError
from pipeline.input_folders import NO_MAGIC, RUN_MARK, local_entry, matches, walk
from pipeline.input_lists import FORMS, ListRow, read_list
from pipeline.sidecars import companions_digest, is_sidecar, owners

TRUTH = ".truth.json"  # what `ola world make` knows of its film, beside it: no source either
QUESTIONS = 32  # to a store at once: each waits some 50 ms


@dataclass(frozen=True)
class Found:
    """Something named in the input. entry: its size and stamp, and its fault if it has one; its path is its uri."""

    entry: Entry
    meta: str = "{}"


def discover(inputs: Sequence[str], root: str) -> list[Source]:
    """Sources of all inputs, sorted by uri, each uri once. Raises ConfigError for an input that is not there.

    root: the run's own folder, which is never an input, even where it lies inside one.
    """
    found: dict[str, Found] = {}
    beside: dict[str, Entry] = {}
    for name in inputs:
        for one in _expand(name, storage.normal(root), beside):
            held = found.get(one.entry.path)
            if held is None or held.meta == "{}":  # the columns of a list count, whoever names the file as well
                found[one.entry.path] = one
    return _sources(found, beside)


def _sources(found: dict[str, Found], beside: dict[str, Entry]) -> list[Source]:
    """Sources, with the subtitles that lie beside them; subtitles that belong to one are not sources themselves."""
    subtitles = {uri: entry for uri, entry in beside.items() if uri not in found}
    subtitles |= {uri: one.entry for uri, one in found.items() if is_sidecar(uri) and not one.entry.fault}
    videos = sorted(found.keys() - subtitles.keys())
    owned = owners(videos, subtitles)
    taken = {uri for uris in owned.values() for uri in uris}
    stems = {os.path.splitext(uri)[0] for uri in videos}
    taken |= {uri for uri in videos if uri.endswith(TRUTH) and uri.removesuffix(TRUTH) in stems}
    return [_source(found[uri], tuple(owned.get(uri, ())), subtitles) for uri in sorted(found.keys() - taken)]


def _source(found: Found, sidecars: tuple[str, ...], subtitles: dict[str, Entry]) -> Source:
    entry = found.entry
    source = Source(
        id="",
        uri=entry.path,
        bytes=entry.size,
        sidecars=sidecars,
        fault=entry.fault or None,
        meta=found.meta,
        stamp=entry.stamp,
        companions=companions_digest(entry.path, sidecars, subtitles),
    )
    return replace(source, id=source_id(source))


def _expand(name: str, root: str, beside: dict[str, Entry]) -> Iterator[Found]:
    """What one input names. Puts the subtitles that lie beside it into `beside`, by their uris."""
    if name.lower().endswith(FORMS):
        rows = read_list(name)
        named = [row.uri for row in rows if row.fault is None]
        entries = _looked_up(named, beside)
        yield from (Found(_faulty(row) if row.fault else entries[row.uri], row.meta) for row in rows)
    elif storage.is_local(name):
        yield from map(Found, _local(storage.normal(name), root, beside))
    elif (entry := storage.look(name)) is not None:
        _look_beside([name], beside)
        yield Found(replace(entry, path=storage.normal(name)))
    else:
        yield from map(Found, _stored(storage.normal(name), root, beside))


def _faulty(row: ListRow) -> Entry:
    return Entry(row.uri, 0, fault=row.fault or "")


def _local(path: str, root: str, beside: dict[str, Entry]) -> Iterator[Entry]:
    if os.path.isdir(path):
        if path == root or os.path.isdir(os.path.join(path, RUN_MARK)):
            raise ConfigError(f"inputs: {path} is the root of a run, not a folder of videos")
        yield from walk(path, root)
    elif os.path.lexists(path):
        _look_beside([path], beside)
        yield local_entry(path)
    elif NO_MAGIC.fullmatch(path):
        raise ConfigError(f"inputs: no such file or folder: {path}")
    else:
        found = list(matches(path, root))
        if not found:
            raise ConfigError(f"inputs: no file matches {path}")
        _look_beside([entry.path for entry in found], beside)
        yield from found


def _stored(name: str, root: str, beside: dict[str, Entry]) -> Iterator[Entry]:
    """All objects below a prefix, or that match a glob, but hidden ones and those of runs. One listing tells all."""
    pattern = re.search(r"[*?\[]", name)
    folder = name[: pattern.start()].rpartition("/")[0] if pattern else name
    listed = storage.listing(folder, recursive=True)
    marked = (f"/{entry.path}".partition(f"/{RUN_MARK}/") for entry in listed)
    runs = {before.lstrip("/") for before, mark, _ in marked if mark}
    if "" in runs:
        raise ConfigError(f"inputs: {folder} is the root of a run, not a folder of videos")
    entries = [
        replace(entry, path=storage.join(folder, entry.path))
        for entry in listed
        if (entry.fault or "/." not in f"/{entry.path}") and not any(entry.path.startswith(f"{run}/") for run in runs)
    ]
    beside.update({entry.path: entry for entry in entries if is_sidecar(entry.path) and not entry.fault})
    chosen = [entry for entry in entries if pattern is None or fnmatchcase(entry.path, name)]
    chosen = [entry for entry in chosen if not entry.path.startswith(f"{root}/")]
    if not chosen:
        raise ConfigError(f"inputs: nothing at {name}")
    yield from chosen


def _looked_up(uris: Sequence[str], beside: dict[str, Entry]) -> dict[str, Entry]:
    """An entry for each of many URIs. Where several lie in one folder of a store, its listing tells all of them."""
    folders = _look_beside(uris, beside)
    with ThreadPoolExecutor(QUESTIONS) as pool:
        entries = pool.map(lambda uri: folders.get(uri) or _entry(uri, folders), uris)
        return dict(zip(uris, entries, strict=True))


def _entry(uri: str, listed: dict[str, Entry]) -> Entry:
    if storage.is_local(uri):
        return local_entry(uri) if os.path.lexists(uri) else Entry(uri, 0, fault="no such file")
    try:
        entry = storage.look(uri)
    except (OSError, ValueError, ImportError) as error:
        return Entry(uri, 0, fault=f"cannot be read: {one_line(error)}")
    return replace(entry, path=uri) if entry else Entry(uri, 0, fault="no such file")


def _look_beside(uris: Iterable[str], beside: dict[str, Entry]) -> dict[str, Entry]:
    """Put the subtitles in the folders of these files into `beside`; returns what listings of stores told at all."""
    folders = sorted({uri.rpartition("/")[0] for uri in uris})
    told: dict[str, Entry] = {}
    with ThreadPoolExecutor(QUESTIONS) as pool:
        for folder, entries in zip(folders, pool.map(_files_in, folders), strict=True):
            found = {storage.join(folder, entry.path): entry for entry in entries}
            beside.update({uri: replace(e, path=uri) for uri, e in found.items() if is_sidecar(uri) and not e.fault})
            told |= {uri: replace(entry, path=uri) for uri, entry in found.items() if not storage.is_local(folder)}
    return told


def _files_in(folder: str) -> list[Entry]:
    """Files of a folder; of a local one only subtitles, since others are looked at where they are wanted."""
    try:
        if not storage.is_local(folder):
            return storage.listing(folder)
        with os.scandir(folder) as entries:
            found = [local_entry(entry.path) for entry in entries if is_sidecar(entry.name)]
        return [replace(entry, path=entry.path.rpartition("/")[2]) for entry in found if not entry.fault]
    except (OSError, ValueError, ImportError):
        return []  # the folder's files carry the fault themselves
