"""From what the user named to sources: files, folders, globs, object-store prefixes, and lists of them.

Everything named gets a source, so that everything gets a row: what cannot be used carries its `fault`. Files of any
extension count, since extensions lie; only subtitles that lie beside a file of the same name belong to that file.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import digest
from manifests.records import Source
from manifests.sources import source_id
from pipeline.errors import ConfigError

LISTS = (".jsonl", ".csv", ".parquet")
COLUMNS = ("uri", "path", "video", "file")  # of a list, in this order: where the video is
SIDECARS = (".srt", ".vtt")
TRUTH = ".truth.json"  # what `ola world make` knows of its film, beside it: no source either


@dataclass(frozen=True)
class Found:
    """Something named in the input."""

    uri: str
    bytes: int = 0
    fault: str | None = None
    meta: str = "{}"


def discover(inputs: Sequence[str], root: str) -> list[Source]:
    """Sources of all inputs, sorted by uri, each uri once. Raises ConfigError for an input that is not there.

    root: the run's own folder, which is never an input, even where it lies inside one.
    """
    found: dict[str, Found] = {}
    for name in inputs:
        for one in _expand(name, storage.normal(root)):
            found.setdefault(one.uri, one)
    sources = (
        Source(
            id="",
            uri=one.uri,
            bytes=one.bytes,
            sidecars=sidecars,
            fault=one.fault,
            meta=one.meta,
            stamp=_st(one.uri),
            companions=digest([_st(s) for s in sidecars]) if sidecars else "",
        )
        for one, sidecars in _with_sidecars(sorted(found.values(), key=lambda one: one.uri))
    )
    return [replace(source, id=source_id(source)) for source in sources]


def _st(uri: str) -> str:
    try:
        entry = storage.look(uri)
    except OSError:
        return ""
    return entry.stamp if entry else ""


def _expand(name: str, root: str) -> Iterator[Found]:
    if name.lower().endswith(LISTS):
        yield from _listed(name)
    elif storage.is_local(name):
        yield from _local(storage.normal(name), root)
    elif storage.exists(name):
        yield from _sized([name])
    else:
        yield from _stored(storage.normal(name), root)


def _stored(name: str, root: str) -> Iterator[Found]:
    """All objects below a prefix, or that match a glob, but hidden ones and those of the run itself."""
    pattern = re.search(r"[*?\[]", name)
    folder = name[: pattern.start()].rpartition("/")[0] if pattern else name
    found = [Found(storage.join(folder, e.path), e.size) for e in storage.listing(folder, recursive=True)]
    chosen = [
        one
        for one in found
        if not one.uri.startswith(f"{root}/")
        and "/." not in one.uri[len(folder) :]
        and (pattern is None or fnmatchcase(one.uri, name))
    ]
    if not chosen:
        raise ConfigError(f"inputs: nothing at {name}")
    yield from chosen


def _local(path: str, root: str) -> Iterator[Found]:
    if os.path.isdir(path):
        yield from _walk(path, root)
    elif os.path.lexists(path):
        yield _local_file(path)
    elif glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise ConfigError(f"inputs: no file matches {path}")
        for match in matches:
            yield from _local(match, root)
    else:
        raise ConfigError(f"inputs: no such file or folder: {path}")


def _walk(folder: str, root: str) -> Iterator[Found]:
    """All files below a folder but hidden ones; links that lead out of it are not followed."""
    denied: list[OSError] = []
    home = os.path.realpath(folder)
    for path, folders, names in os.walk(folder, onerror=denied.append):
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        folders[:] = sorted(f for f in folders if not f.startswith(".") and os.path.join(path, f) != root)
        for name in sorted(links):
            yield Found(_text(os.path.join(path, name)), fault="symbolic link to a folder: not followed")
        for name in sorted(names):
            if name.startswith("."):
                continue
            full = os.path.join(path, name)
            outside = os.path.islink(full) and not os.path.realpath(full).startswith(home + os.sep)
            yield Found(_text(full), fault="symbolic link out of the input") if outside else _local_file(full)
    yield from (Found(_text(str(e.filename)), fault=f"folder cannot be read: {e.strerror}") for e in denied)


def _local_file(path: str) -> Found:
    name = _text(path)
    if name != path:
        return Found(name, fault="the name is not UTF-8: rename the file")
    try:
        info = os.stat(path)
    except OSError as error:
        return Found(name, fault=f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(info.st_mode):
        return Found(name, fault="not a regular file")
    if not os.access(path, os.R_OK):
        return Found(name, info.st_size, fault="cannot be read: Permission denied")
    return Found(name, info.st_size)


def _text(path: str) -> str:
    """The path as text that can be stored: bytes that are not UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _listed(name: str) -> Iterator[Found]:
    """The rows of a list; their further columns are carried along. Relative paths count from the list's folder."""
    if not storage.exists(name):
        raise ConfigError(f"inputs: no such list: {name}")
    base = storage.normal(name).rsplit("/", 1)[0]
    for number, row in enumerate(_rows(name), start=1):
        if not isinstance(row, dict):
            raise ConfigError(f"inputs: {name} row {number} is no object of columns: {str(row)[:50]!r}")
        column = next((c for c in COLUMNS if row.get(c)), None)
        if column is None:
            raise ConfigError(f"inputs: {name} row {number} names no video (columns looked for: {', '.join(COLUMNS)})")
        uri = str(row.pop(column))
        full = uri if "://" in uri or os.path.isabs(uri) else storage.join(base, uri)
        meta = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
        for one in _sized([full]):
            yield replace(one, meta=meta)


def _rows(name: str) -> list[Any]:
    import pyarrow as pa

    data = pa.BufferReader(storage.read_bytes(name))
    try:
        if name.lower().endswith(".parquet"):
            return list(pq.read_table(data).to_pylist())
        if name.lower().endswith(".csv"):
            from pyarrow import csv

            return list(csv.read_csv(data, parse_options=csv.ParseOptions(newlines_in_values=True)).to_pylist())
        return [json.loads(line) for line in data.read().decode().splitlines() if line.strip()]
    except (pa.ArrowInvalid, ValueError) as error:
        raise ConfigError(f"inputs: {name} is not a readable list: {' '.join(str(error).split())}") from error


def _sized(uris: Iterable[str]) -> Iterator[Found]:
    for uri in uris:
        if storage.is_local(uri):
            path = storage.normal(uri)
            yield _local_file(path) if os.path.lexists(path) else Found(path, fault="no such file")
            continue
        try:
            filesystem, path = storage.resolve(uri)
            info = filesystem.get_file_info(path)
        except (OSError, ValueError, ImportError) as error:
            yield Found(uri, fault=f"cannot be read: {' '.join(str(error).split())}")
            continue
        yield Found(uri, info.size) if info.is_file else Found(uri, fault="no such file")


def _with_sidecars(found: Sequence[Found]) -> Iterator[tuple[Found, tuple[str, ...]]]:
    """Each source with the subtitles beside it; subtitles that belong to one are not sources themselves."""
    folders = {one.uri.rsplit("/", 1)[0] for one in found}
    beside = {uri for folder in folders for uri in _subtitles(folder)}
    beside |= {one.uri for one in found if one.uri.lower().endswith(SIDECARS)}
    subtitles = beside - {one.uri for one in found if one.fault is not None}
    stems = defaultdict(list)
    for one in found:
        if one.uri not in subtitles:
            stems[os.path.splitext(one.uri)[0]].append(one.uri)
    owned: dict[str, list[str]] = defaultdict(list)
    taken = set()
    for uri in sorted(subtitles):
        for owner in stems.get(_owner_stem(uri, stems), ()):
            owned[owner].append(uri)
            taken.add(uri)
    for one in found:
        if one.uri.endswith(TRUTH) and stems.get(one.uri.removesuffix(TRUTH)):
            continue
        if one.uri not in taken:
            yield one, tuple(owned[one.uri])


def _owner_stem(uri: str, stems: dict[str, list[str]]) -> str:
    """`talk.en.srt` belongs to `talk.en.mp4` if that is there, else to `talk.mp4`."""
    folder, _, name = uri.rpartition("/")
    pieces = name.split(".")
    names = (f"{folder}/{'.'.join(pieces[:n])}" for n in range(len(pieces) - 1, 0, -1))
    return next((stem for stem in names if stem in stems), "")


def _subtitles(folder: str) -> list[str]:
    try:
        if storage.is_local(folder):
            names = [path.name for path in Path(folder).iterdir() if path.is_file()]
        else:
            names = [entry.path for entry in storage.listing(folder)]
    except OSError:
        return []  # the folder's files carry the fault themselves
    sidecars = (name for name in names if PurePosixPath(name).suffix.lower() in SIDECARS)
    return [f"{folder}/{name}" for name in sidecars if _text(name) == name]
