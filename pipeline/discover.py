"""From what the user named to sources: files, folders, globs, object-store prefixes, and lists of them.

Everything named gets a source, so that everything gets a row: what cannot be used carries its `fault`. Files of any
extension count, since extensions lie; only subtitles that lie beside a file of the same name belong to that file.
A folder that holds a run, this one or another, is never an input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from manifests import storage
from manifests.ledger import one_line
from manifests.records import Source
from manifests.retries import StoreAway
from manifests.sources import source_id
from manifests.storage import Entry
from pipeline.errors import ConfigError, RunError
from pipeline.input_folders import NO_MAGIC, RUN_MARK, matches, walk
from pipeline.input_lists import FORMS, ListRow, read_list
from pipeline.input_lookup import look_up
from pipeline.sidecars import companions_digest, is_sidecar, owners

TRUTH = ".truth.json"  # what `ola world make` knows of its film, beside it: no source either


@dataclass(frozen=True)
class Found:
    """Something named in the input. entry: its size and stamp, and its fault if it has one; its path is its uri."""

    entry: Entry
    meta: str = "{}"


def discover(inputs: Sequence[str], root: str) -> list[Source]:
    """Sources of all inputs, sorted by uri, each uri once.

    Raises ConfigError for an input that is not there, RunError for a store that does not answer. root: the run's own
    folder, which is never an input, even where it lies inside one.
    """
    found: dict[str, Found] = {}
    beside: dict[str, Entry] = {}
    for name in inputs:
        for one in _named(name, storage.normal(root), beside):
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


def _named(name: str, root: str, beside: dict[str, Entry]) -> list[Found]:
    try:
        return list(_expand(name, root, beside))
    except StoreAway:
        raise
    except OSError as error:
        kind = ConfigError if storage.is_local(name) else RunError
        raise kind(f"inputs: {name} cannot be read: {one_line(error)}") from error


def _expand(name: str, root: str, beside: dict[str, Entry]) -> Iterator[Found]:
    """What one input names. Puts the subtitles that lie beside it into `beside`, by their uris."""
    if name.lower().endswith(FORMS):
        rows = read_list(name)
        entries = look_up([row.uri for row in rows if row.fault is None], beside)
        yield from (Found(_row_entry(row, entries), row.meta) for row in rows)
    elif storage.is_local(name):
        yield from map(Found, _local(storage.normal(name), root, beside))
    elif storage.exists(name):
        yield from map(Found, look_up([storage.normal(name)], beside).values())
    else:
        yield from map(Found, _stored(storage.normal(name), root, beside))


def _row_entry(row: ListRow, entries: Mapping[str, Entry]) -> Entry:
    return entries[row.uri] if row.fault is None else Entry(row.uri, 0, fault=row.fault)


def _local(path: str, root: str, beside: dict[str, Entry]) -> Iterator[Entry]:
    if os.path.isdir(path):
        yield from walk(path, root)
    elif os.path.lexists(path):
        yield from look_up([path], beside).values()
    elif NO_MAGIC.fullmatch(path):
        raise ConfigError(f"inputs: no such file or folder: {path}")
    else:
        found = list(matches(path, root, beside))
        if not found:
            raise ConfigError(f"inputs: no file matches {path}")
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
