"""Find the sources in what the user named: files, folders, globs, object-store prefixes, and lists of these.

Each named file becomes a source and gets a row; a file that cannot be used has a `fault`. File extensions are not
trusted. Files in a folder that are certainly no video, by name and content, are only counted, and companions of a video
belong to the video. A folder that contains a run is never an input.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pyarrow as pa
from braceexpand import braceexpand

from manifests import storage
from manifests.ledger import one_line
from manifests.records import Source, Span
from manifests.retries import StoreUnreachable
from manifests.sources import source_id
from manifests.storage import Entry
from pipeline.errors import ConfigError, RunError
from pipeline.sources.companions import Videos, companions_digest, is_read
from pipeline.sources.containers.columns import is_table_of_media
from pipeline.sources.containers.index_files import index_uris
from pipeline.sources.containers.members import container_of, is_container, split_uri
from pipeline.sources.containers.table_files import open_table
from pipeline.sources.folders import NO_MAGIC, RUN_MARK, matches, walk
from pipeline.sources.input_lists import COLUMNS, FORMS, ListRow, read_list
from pipeline.sources.named_files import NOT_THERE, look_up
from pipeline.sources.not_media import find_not_media


@dataclass(frozen=True)
class InputFile:
    """A file of the input. entry: its path (a uri), size and stamp, and its fault if there is one.

    named: by the user or in a list, rather than found in a folder. A named file gets a row in any case.
    """

    entry: Entry
    meta: str = "{}"
    named: bool = False
    spans: tuple[Span, ...] = ()


def discover(
    inputs: Sequence[str], root: str, passed_over: Counter[str] | None = None, column: str = "", given: bool = False
) -> list[Source]:
    """Find the sources of all inputs, sorted by URI, without duplicates. passed_over: counts files that are no media.

    Raises ConfigError for an input that does not exist, RunError for a store that does not answer. root: the run's own
    folder, which is never an input. column: the column of tables with the media; "" to detect it. given: whether
    captions and questions beside videos are read. Containers are returned as they are.
    """
    found: dict[str, InputFile] = {}
    beside: dict[str, Entry] = {}
    for name in inputs:
        for file in _named(name, storage.normal(root), beside, column):
            earlier = found.get(file.entry.path)
            # the columns of a list count, whoever names the file as well
            if earlier is None or (earlier.meta == "{}" and not earlier.spans):
                found[file.entry.path] = replace(file, named=file.named or (earlier is not None and earlier.named))
    return _sources(found, beside, Counter() if passed_over is None else passed_over, given)


def _sources(
    found: dict[str, InputFile], beside: dict[str, Entry], passed_over: Counter[str], given: bool
) -> list[Source]:
    """Make sources with their companions. Companions and files that are no media are not sources."""
    entries = {uri: entry for uri, entry in beside.items() if uri not in found}
    entries |= {uri: file.entry for uri, file in found.items() if not file.entry.fault}
    videos = Videos(uri for uri in found if not is_container(uri))
    subtitles, metadata, sounds = videos.subtitles(entries), videos.metadata(entries, given), videos.sounds(entries)
    come_upon = {uri for uri, file in found.items() if not (file.named or file.entry.fault)}
    used = {uri for uris in (*subtitles.values(), *metadata.values()) for uri in uris}
    used |= videos.companions(come_upon) | (come_upon & set(sounds.values()))
    used |= set(index_uris(found))
    others = find_not_media(found[uri].entry for uri in come_upon - used)
    passed_over.update(others.values())
    return [
        _source(
            found[uri],
            CompanionUris(subtitles.get(uri, ()), metadata.get(uri, ()), sounds.get(uri, ""), given),
            entries,
        )
        for uri in sorted(found.keys() - used - others.keys())
    ]


@dataclass(frozen=True)
class CompanionUris:
    """Uris of the companions of a video: subtitles, metadata and audio. given: see `Source`."""

    subtitles: Sequence[str]
    metadata: Sequence[str]
    sound: str
    given: bool


def _source(found: InputFile, beside: CompanionUris, entries: Mapping[str, Entry]) -> Source:
    entry = found.entry
    read = [*beside.subtitles, *([beside.sound] if beside.sound else [])]
    source = Source(
        id="",
        uri=entry.path,
        bytes=entry.size,
        sidecars=tuple(beside.subtitles),
        fault=entry.fault or None,
        meta=found.meta,
        spans=found.spans,
        stamp=entry.stamp,
        companions=companions_digest(entry.path, read, entries),
        metadata=tuple(beside.metadata),
        described=companions_digest(entry.path, beside.metadata, entries),
        apart=beside.sound,
        given=beside.given and bool(beside.metadata),
    )
    return replace(source, id=source_id(source))


def _named(name: str, root: str, beside: dict[str, Entry], column: str) -> list[InputFile]:
    try:
        return list(_expand(name, root, beside, column))
    except StoreUnreachable:
        raise
    except OSError as error:
        kind = ConfigError if storage.is_local(name) else RunError
        raise kind(f"inputs: {name} cannot be read: {one_line(error)}") from error


def _expand(name: str, root: str, beside: dict[str, Entry], column: str) -> Iterator[InputFile]:
    """Return the entries that one input names. Add subtitles and metadata beside them to `beside`, by URI."""
    if name.lower().endswith(FORMS) and not _holds_media(name, column):
        rows = read_list(name)
        entries = look_up(list({container_of(row.uri): row for row in rows if row.fault is None}), beside)
        yield from (InputFile(_row_entry(row, entries), row.meta, True, row.spans) for row in rows)
    elif (member := split_uri(storage.normal(name))) or len(files := _braces(name)) > 1:
        wanted = [member[0]] if member else files
        for uri, entry in look_up(wanted, beside).items():
            if entry.fault == NOT_THERE:
                raise ConfigError(f"inputs: no such file: {uri}")
            yield InputFile(replace(entry, path=storage.normal(name)) if member else entry, named=True)
    elif storage.is_local(name):
        yield from _local(storage.normal(name), root, beside)
    elif storage.exists(name):
        yield from (InputFile(entry, named=True) for entry in look_up([storage.normal(name)], beside).values())
    else:
        yield from map(InputFile, _stored(storage.normal(name), root, beside))


def _braces(name: str) -> list[str]:
    """Expand `shard-{00000..00099}.tar` and `{a,b}.tar`, unless a file has this very name."""
    if "{" not in name or (storage.is_local(name) and os.path.lexists(storage.normal(name))):
        return [name]
    try:
        return [storage.normal(each) for each in braceexpand(name)]
    except ValueError:  # a brace that is never closed
        return [name]


def _holds_media(name: str, column: str) -> bool:
    """Return whether a Parquet file has the videos in a column, and is not a list of videos."""
    if not name.lower().endswith(".parquet") or not storage.exists(name):
        return False
    try:
        return is_table_of_media(open_table(storage.normal(name)), column, COLUMNS)
    except pa.ArrowException:
        return False  # read as a list, it is an error with its reason


def _row_entry(row: ListRow, entries: Mapping[str, Entry]) -> Entry:
    """Return the file that a row names, or the container of the member that it names, under the name in the row."""
    return Entry(row.uri, 0, fault=row.fault) if row.fault else replace(entries[container_of(row.uri)], path=row.uri)


def _local(path: str, root: str, beside: dict[str, Entry]) -> Iterator[InputFile]:
    if os.path.isdir(path):
        yield from map(InputFile, walk(path, root))
    elif os.path.lexists(path):
        yield from (InputFile(entry, named=True) for entry in look_up([path], beside).values())
    elif NO_MAGIC.fullmatch(path):
        raise ConfigError(f"inputs: no such file or folder: {path}")
    else:
        found = list(matches(path, root, beside))
        if not found:
            raise ConfigError(f"inputs: no file matches {path}")
        yield from map(InputFile, found)


def _stored(name: str, root: str, beside: dict[str, Entry]) -> Iterator[Entry]:
    """List the objects below a prefix or matching a glob, without hidden objects and runs, by one listing."""
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
