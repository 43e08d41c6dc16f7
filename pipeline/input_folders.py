"""Folders and globs on this machine: every file below them, once, whatever links there are."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from manifests.storage import Entry

NO_MAGIC = re.compile(r"[^*?\[]*")
RUN_MARK = "00-source"  # a folder of this name makes the one that holds it the root of a run


def walk(folder: str, root: str) -> Iterator[Entry]:
    """All files below a folder but hidden ones and those of runs; links that lead out of it are not followed.

    root: of the run that asks.
    """
    denied: list[OSError] = []
    home = os.path.realpath(folder)
    for path, folders, names in os.walk(folder, onerror=denied.append):
        if RUN_MARK in folders or path == root:
            folders.clear()
            continue
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(links):
            if not name.startswith("."):
                yield Entry(text(os.path.join(path, name)), 0, fault="symbolic link to a folder: not followed")
        for name in sorted(names):
            if not name.startswith("."):
                yield _file_within(os.path.join(path, name), home)
    yield from (Entry(text(str(e.filename)), 0, fault=f"folder cannot be read: {e.strerror}") for e in denied)


def _file_within(path: str, home: str) -> Entry:
    if os.path.islink(path) and not os.path.realpath(path).startswith(home + os.sep):
        return Entry(text(path), 0, fault="symbolic link out of the input")
    return local_entry(path)


def matches(pattern: str, root: str) -> Iterator[Entry]:
    """All files that a glob matches, and those below folders that it matches, by the rules of `walk`.

    `**` does not go through links, so a link that loops gives no file twice.
    """
    pieces = [piece if piece == "**" else re.sub(r"\*+", "*", piece) for piece in pattern.split("/")]
    fixed = next(n for n, piece in enumerate(pieces) if glob.has_magic(piece))
    base, rest = "/".join(pieces[:fixed]) or "/", "/".join(pieces[fixed:])
    hidden = any(piece.startswith(".") for piece in pieces[fixed:])
    walked: set[str] = set()

    @cache
    def is_run(folder: Path) -> bool:
        return str(folder) == root or (folder / RUN_MARK).is_dir()

    for match in sorted(Path(base).glob(f"{rest}/*" if rest.endswith("**") else rest)):
        path, below = str(match), match.relative_to(base).parts
        if (any(part.startswith(".") for part in below) and not hidden) or _is_in(path, walked):
            continue
        if any(is_run(parent) for parent in (match, *match.parents) if str(parent).startswith(base)):
            continue
        if match.is_dir() and not match.is_symlink():
            walked.add(path)
            yield from walk(path, root)
        elif match.is_dir():
            yield Entry(text(path), 0, fault="symbolic link to a folder: not followed")
        else:
            yield local_entry(path)


def _is_in(path: str, walked: set[str]) -> bool:
    return any(str(parent) in walked for parent in Path(path).parents)


def local_entry(path: str) -> Entry:
    """A file with its size and modification time, or with what is wrong with it."""
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
    """The path as text that can be stored: bytes that are not UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
