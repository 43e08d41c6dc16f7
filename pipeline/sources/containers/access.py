"""Read the bytes of a member of a container in place, or copy them to a file for decoders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from manifests import drafts, object_store, storage
from pipeline.sources.containers import tar_header
from pipeline.sources.containers.members import STREAMS, TABLES, ZIPS, Unreadable, member_stamp, split_uri, stamp_parts
from pipeline.sources.containers.readers import open_container, stream_before
from pipeline.sources.containers.table_values import value_at
from pipeline.sources.containers.tar_header import BLOCK
from pipeline.sources.containers.tar_index import Bytes
from pipeline.sources.containers.zips import zip_pieces

CHUNK = 1 << 20  # bytes of one read


def fetch(uri: str, folder: str, stamp: str = "") -> str:
    """Return a local path with the bytes of a source: its own path, or a copy in `folder`. stamp: of the source.

    Raises OSError if the bytes cannot be read.
    """
    member = split_uri(uri)
    if member is None:
        return storage.fetch(uri, folder)
    path = storage.copy_path(uri, folder)
    if not os.path.exists(path):
        container_stamp, place = stamp_parts(stamp or member[1])  # the name of a companion has its place itself
        container_stamp = container_stamp if stamp else ""
        now = _stamp_now(member[0], container_stamp)
        partial = drafts.name(path)
        try:
            with open(partial, "wb") as sink:
                sink.writelines(pieces(member[0], place, now))
            Path(path + storage.STAMP).write_text(member_stamp(now, place))
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    return path


def _stamp_now(container: str, known_stamp: str) -> str:
    """Return a container's stamp. An object keeps the given stamp: a range read fails if the object has another."""
    if known_stamp and object_store.holds(container):
        return known_stamp
    found = storage.stat(container)
    if found is None:
        raise FileNotFoundError(2, "no such file", container)
    return found.stamp


def is_copied(uri: str) -> bool:
    """Return whether `fetch` makes a copy."""
    return not storage.is_local(uri) or split_uri(uri) is not None


def stamp_of(uri: str, folder: str) -> str:
    """Return the stamp of the copy that `fetch` made in `folder`; for a local file, its present stamp."""
    if split_uri(uri) is None:
        return storage.stamp_of(uri, folder)
    return Path(storage.copy_path(uri, folder) + storage.STAMP).read_text()


def read_companion(uri: str) -> bytes:
    """Return the bytes of a companion in a container: `00012.tar#12.srt@5120+93`. Raises OSError."""
    container, name = split_uri(uri) or (uri, "")
    return b"".join(pieces(container, name.rpartition("@")[2], ""))


def current_entry(uri: str, stamp: str) -> storage.Entry | None:
    """Return a source's present size and stamp; None if it is gone. A member changes with its container."""
    member = split_uri(uri)
    found = storage.stat(member[0] if member else uri)
    return (
        found
        if member is None or found is None
        else replace(found, stamp=member_stamp(found.stamp, stamp_parts(stamp)[1]))
    )


def source_pieces(uri: str, stamp: str) -> Iterator[bytes]:
    """Yield the bytes of a source in pieces. stamp: of the source. Raises OSError."""
    member = split_uri(uri)
    if member is not None:
        container_stamp, place = stamp_parts(stamp)
        yield from pieces(member[0], place, container_stamp)
        return
    with storage.open_random(uri) as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def pieces(container: str, place: str, stamp: str) -> Iterator[bytes]:
    """Yield the bytes at a place of a container, without reading others. stamp: the container's, or "".

    Raises OSError if the bytes are missing, or if the container's stamp differs.
    """
    name = container.lower()
    if name.endswith(TABLES):
        yield value_at(container, stamp, place)
    elif name.endswith(STREAMS):
        yield from tar_pieces(container, stream_before(container, stamp, header_start(place)), place)
    else:
        with open_container(container, stamp) as file:
            yield from zip_pieces(file, place) if name.endswith(ZIPS) else tar_pieces(container, file, place)


def _span(place: str) -> tuple[int, int]:
    start, size = map(int, place.split("+"))
    return start, size


def header_start(place: str) -> int:
    """Return where the tar header directly before a member begins."""
    return _span(place)[0] - BLOCK


def tar_pieces(container: str, file: Bytes, place: str) -> Iterator[bytes]:
    """Yield the bytes at a place of an open tar after checking its header. Raises OSError like `pieces`."""
    start, size = _span(place)
    position, end = start - BLOCK, start + size
    while position < end:
        data = _read(file, min(CHUNK, end - position), position)
        if len(data) < min(BLOCK, end - position):
            raise OSError(f"{container}: {end - position} bytes are missing at byte {position}: was it replaced?")
        head = BLOCK if position < start else 0
        if head:
            _check_header(container, data[:head], size)
        position += len(data)
        yield data[head:]


def _read(file: Bytes, size: int, position: int) -> bytes:
    try:
        return bytes(file.read_at(size, position))
    except Unreadable as error:
        raise OSError(str(error)) from error


def _check_header(container: str, block: bytes, size: int) -> None:
    """Raise OSError unless a member's header is at this place; the container may have been replaced."""
    try:
        if tar_header.parse(block).size in (size, 0):  # 0: in a pax header, since it is too large for this one
            return
    except Unreadable:
        pass
    raise OSError(f"{container}: there is no member at this place any more: it was replaced")
