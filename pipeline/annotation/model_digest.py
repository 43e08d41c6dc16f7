"""Compute the digest of a folder of weights, from every byte of every file; each file is read once a machine.

Digests are cached below $XDG_CACHE_HOME/ola (else ~/.cache/ola) by a file's path, size, mtime and ctime. The ctime is
compared because `cp -p`, `rsync -t` and `tar` give new bytes an old mtime.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ola import locate_model
from pipeline.errors import ConfigError

BLOCK = 16 << 20  # bytes hashed at once, by all cores
CACHE = "digests.json"

FileDigests = dict[str, tuple[int, int, int, str]]  # by path: size, mtime and ctime in ns, BLAKE3


def digest_of(folder: str) -> str:
    """Return the hex digest of a model's folder, from the names, sizes and bytes of its files, without hidden ones.

    Raises ConfigError where there is no such folder.
    """
    home = locate_model(folder)
    if not home.is_dir():
        raise ConfigError(f"annotator.model: expected a folder of weights, got {folder}, which does not exist")
    known = _read_cache()
    found = {path: _file_digest(path, known) for path in _list_files(home)}
    current: FileDigests = {os.path.realpath(path): facts for path, facts in found.items()}
    if any(known.get(path) != facts for path, facts in current.items()):
        _write_cache({**_read_cache(), **current})
    total = hashlib.sha256()
    for path, (size, _mtime, _ctime, contents) in found.items():
        total.update(f"{path.relative_to(home).as_posix()} {size} {contents}\n".encode())
    return total.hexdigest()


def digest_of_file(file: Path) -> str:
    """Return the hex digest of a file's bytes."""
    known, real = _read_cache(), os.path.realpath(file)
    facts = _file_digest(file, known)
    if known.get(real) != facts:
        _write_cache({**_read_cache(), real: facts})
    return facts[3]


def check_digest(folder: str, expected: str) -> None:
    """Raise ConfigError if the weights in a folder on this node differ from those that the run began with."""
    found = digest_of(folder)
    if found != expected:
        raise ConfigError(
            f"annotator.model: the weights in {folder} on this node are not those that the run began with (digest "
            f"{found[:12]}, expected {expected[:12]}): put the same files on every node, or run again to use these"
        )


def cache_folder() -> Path:
    """Return the folder where this machine caches digests and converted weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ola"


def _list_files(home: Path) -> Iterator[Path]:
    """Yield all files below a folder, without hidden ones, sorted by name. Links count as their targets."""
    yield from sorted(_walk(home, ()))


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yield files below a folder. above: real paths of its parents, so that links to them are skipped."""
    above = (*above, os.path.realpath(folder))
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and os.path.realpath(path) not in above:
            yield from _walk(path, above)
        elif path.is_file():
            yield path


def _file_digest(path: Path, known: FileDigests) -> tuple[int, int, int, str]:
    stat, real = path.stat(), os.path.realpath(path)
    facts = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if real in known and known[real][:3] == facts:
        return known[real]
    from blake3 import blake3

    hasher, block = blake3(max_threads=blake3.AUTO), memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0) as file:  # not mapped: truncating a mapped file would kill the process
        while read := file.readinto(block):
            hasher.update(block[:read])
    return *facts, hasher.hexdigest()


def _read_cache() -> FileDigests:
    # without a cache, or with a damaged one, the files are read again
    with suppress(OSError, ValueError, TypeError, AttributeError):
        stored = json.loads((cache_folder() / CACHE).read_text(encoding="utf-8"))
        return {
            str(path): (int(size), int(mtime), int(ctime), str(digest))
            for path, (size, mtime, ctime, digest) in stored.items()
        }
    return {}


def _write_cache(known: FileDigests) -> None:
    with suppress(OSError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{CACHE}.{uuid.uuid4().hex[:8]}"
        existing = {path: facts for path, facts in known.items() if os.path.exists(path)}
        fresh.write_text(json.dumps(existing), encoding="utf-8")
        os.replace(fresh, folder / CACHE)
