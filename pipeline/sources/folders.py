"""List local folders and globs: every file once, also if links form a cycle."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from manifests.storage import Entry
from pipeline.errors import ConfigError
from pipeline.sources.companions import is_read

NO_MAGIC = re.compile(r"[^*?\[]*")
RUN_MARK = "00-source"  # a folder of this name makes the one that holds it the root of a run

PatternRest = tuple[str, ...]  # pieces of a pattern that are still to be matched
EVERYTHING: frozenset[PatternRest] = frozenset({("**",), ()})


def walk(folder: str, root: str) -> Iterator[Entry]:
    """Yield all files below a folder, without hidden files and runs. Links out of the folder are not followed.

    root: of the current run. Raises ConfigError if the folder itself is the root of a run.
    """
    return _below(folder, EVERYTHING, root, {})


def matches(pattern: str, root: str, beside: dict[str, Entry]) -> Iterator[Entry]:
    """Yield the files that a glob matches, and the files below matching folders, by the rules of `walk`.

    `**` matches any number of folders. Links are followed only before the first component with a wildcard. Adds the
    subtitles and metadata in the same folders to `beside`, by uri.
    """
    pieces = pattern.split("/")
    fixed = next(n for n, piece in enumerate(pieces) if not NO_MAGIC.fullmatch(piece))
    return _below("/".join(pieces[:fixed]) or "/", _with_empty_double_star([tuple(pieces[fixed:])]), root, beside)


def _below(base: str, rests: frozenset[PatternRest], root: str, beside: dict[str, Entry]) -> Iterator[Entry]:
    """Yield the files below a folder that match the rest of a pattern: one `scandir` a folder, one `stat` a file."""
    home = os.path.realpath(base)
    folders = [(base, rests)]
    while folders:
        path, rests = folders.pop()
        try:
            entries = _visible(path, root)
        except OSError as error:
            if path != base or rests == EVERYTHING:
                yield Entry(text(path), 0, fault=f"folder cannot be read: {error.strerror}")
            continue
        if entries is None and path == base:
            raise ConfigError(f"inputs: {base} is the root of a run, not a folder of videos")
        for entry in entries or ():
            after = _match_name(rests, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if after:
                    folders.append((entry.path, EVERYTHING if () in after else after))
            elif after and entry.is_symlink() and os.path.isdir(entry.path):
                yield Entry(text(entry.path), 0, fault="symbolic link to a folder: not followed")
            elif () in after:
                # a link that a pattern names is meant; one that a walk comes upon may lead anywhere
                yield _file_within(entry, home) if rests == EVERYTHING else local_entry(entry.path)
            elif is_read(entry.name) and not (found := _file_within(entry, home)).fault:
                beside[found.path] = found


def _visible(path: str, root: str) -> list[os.DirEntry[str]] | None:
    """Return the entries of a folder that are not hidden; none for the root of a run. Raises OSError."""
    if path == root:
        return None
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    return None if any(entry.name == RUN_MARK and entry.is_dir() for entry in found) else found


def _with_empty_double_star(rests: Sequence[PatternRest]) -> frozenset[PatternRest]:
    """Add the patterns that remain if `**` matches no folder."""
    found = set(rests)
    for rest in rests:
        stars = next((n for n, piece in enumerate(rest) if piece != "**"), len(rest))
        found.update(rest[n:] for n in range(1, stars + 1))
    return frozenset(found)


def _match_name(rests: frozenset[PatternRest], name: str) -> frozenset[PatternRest]:
    """Return the rest of a pattern after a name: empty without a match, with an empty item for a complete match.

    Hidden names match only components that begin with a dot, as in a shell.
    """
    hidden = name.startswith(".")
    if rests == EVERYTHING:
        return frozenset() if hidden else rests
    left = [rest for rest in rests if rest and rest[0] == "**" and not hidden]
    for rest in rests:
        if rest and rest[0] != "**" and hidden == rest[0].startswith(".") and fnmatchcase(name, rest[0]):
            left.append(rest[1:])
    return _with_empty_double_star(left)


def _file_within(entry: os.DirEntry[str], home: str) -> Entry:
    if entry.is_symlink() and not os.path.realpath(entry.path).startswith(home.rstrip(os.sep) + os.sep):
        return Entry(text(entry.path), 0, fault="symbolic link out of the input")
    return local_entry(entry.path)


def local_entry(path: str) -> Entry:
    """Return a file with its size and modification time, or with its fault."""
    name = text(path)
    if name != path:
        return Entry(name, 0, fault="the name is not UTF-8: rename the file")
    try:
        info = os.stat(path)
    except OSError as error:
        return Entry(name, 0, fault=f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(info.st_mode):
        return Entry(name, 0, fault="not a regular file")
    if not os.access(path, os.R_OK):
        return Entry(name, info.st_size, fault="cannot be read: Permission denied")
    return Entry(name, info.st_size, str(info.st_mtime_ns))


def text(path: str) -> str:
    """Return a path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
