"""From what the user named to sources: files, folders, globs, object-store prefixes, and lists of them.

Everything named gets a source, so that everything gets a row: what cannot be used carries its `fault`. Files of any
extension count, since extensions lie; only what lies beside a video of its name belongs to that video, and files in
folders that are no video by name and content are counted. A folder that holds a run is never an input.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from manifests import storage
from manifests.ledger import one_line
from manifests.records import Source
from manifests.retries import StoreAway
from manifests.sources import source_id
from manifests.storage import Entry
from pipeline.companions import Videos, companions_digest, is_read
from pipeline.errors import ConfigError, RunError
from pipeline.input_folders import NO_MAGIC, RUN_MARK, matches, walk
from pipeline.input_lists import FORMS, ListRow, read_list
from pipeline.input_lookup import look_up
from pipeline.not_media import not_media


@dataclass(frozen=True)
class Found:
    """A file of the input. entry: its size and stamp, and its fault if it has one; its path is its uri.

    named: by the user or in a list, and not come upon in a folder: it has a row whatever it is.
    """

    entry: Entry
    meta: str = "{}"
    named: bool = False


def discover(inputs: Sequence[str], root: str, passed_over: Counter[str] | None = None) -> list[Source]:
    """Sources of all inputs, sorted by uri, each uri once. passed_over: gets the kinds of files that are no media.

    Raises ConfigError for an input that is not there, RunError for a store that does not answer. root: the run's own
    folder, which is never an input, even where it lies inside one.
    """
    found: dict[str, Found] = {}
    beside: dict[str, Entry] = {}
    for name in inputs:
        for one in _named(name, storage.normal(root), beside):
            held = found.get(one.entry.path)
            if held is None or held.meta == "{}":  # the columns of a list count, whoever names the file as well
                found[one.entry.path] = replace(one, named=one.named or (held is not None and held.named))
    return _sources(found, beside, Counter() if passed_over is None else passed_over)


def _sources(found: dict[str, Found], beside: dict[str, Entry], passed_over: Counter[str]) -> list[Source]:
    """Sources, with what lies beside them. What belongs to a video is no source, nor what is plainly no video."""
    entries = {uri: entry for uri, entry in beside.items() if uri not in found}
    entries |= {uri: one.entry for uri, one in found.items() if not one.entry.fault}
    videos = Videos(found)
    subtitles, metadata = videos.subtitles(entries), videos.metadata(entries)
    come_upon = {uri for uri, one in found.items() if not (one.named or one.entry.fault)}
    taken = {uri for uris in (*subtitles.values(), *metadata.values()) for uri in uris} | videos.companions(come_upon)
    others = not_media(found[uri].entry for uri in come_upon - taken)
    passed_over.update(others.values())
    return [
        _source(found[uri], tuple(subtitles.get(uri, ())), tuple(metadata.get(uri, ())), entries)
        for uri in sorted(found.keys() - taken - others.keys())
    ]


def _source(found: Found, sidecars: tuple[str, ...], metadata: tuple[str, ...], entries: Mapping[str, Entry]) -> Source:
    entry = found.entry
    source = Source(
        id="",
        uri=entry.path,
        bytes=entry.size,
        sidecars=sidecars,
        fault=entry.fault or None,
        meta=found.meta,
        stamp=entry.stamp,
        companions=companions_digest(entry.path, sidecars, entries),
        metadata=metadata,
        described=companions_digest(entry.path, metadata, entries),
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
    """What one input names. Puts the subtitles and metadata that lie beside it into `beside`, by their uris."""
    if name.lower().endswith(FORMS):
        rows = read_list(name)
        entries = look_up([row.uri for row in rows if row.fault is None], beside)
        yield from (Found(_row_entry(row, entries), row.meta, named=True) for row in rows)
    elif storage.is_local(name):
        yield from _local(storage.normal(name), root, beside)
    elif storage.exists(name):
        yield from (Found(entry, named=True) for entry in look_up([storage.normal(name)], beside).values())
    else:
        yield from map(Found, _stored(storage.normal(name), root, beside))


def _row_entry(row: ListRow, entries: Mapping[str, Entry]) -> Entry:
    return entries[row.uri] if row.fault is None else Entry(row.uri, 0, fault=row.fault)


def _local(path: str, root: str, beside: dict[str, Entry]) -> Iterator[Found]:
    if os.path.isdir(path):
        yield from map(Found, walk(path, root))
    elif os.path.lexists(path):
        yield from (Found(entry, named=True) for entry in look_up([path], beside).values())
    elif NO_MAGIC.fullmatch(path):
        raise ConfigError(f"inputs: no such file or folder: {path}")
    else:
        found = list(matches(path, root, beside))
        if not found:
            raise ConfigError(f"inputs: no file matches {path}")
        yield from map(Found, found)


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
    beside.update({entry.path: entry for entry in entries if is_read(entry.path) and not entry.fault})
    chosen = [entry for entry in entries if pattern is None or fnmatchcase(entry.path, name)]
    chosen = [entry for entry in chosen if not entry.path.startswith(f"{root}/")]
    if not chosen:
        raise ConfigError(f"inputs: nothing at {name}")
    yield from chosen
