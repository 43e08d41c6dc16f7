"""Store the media that a step makes, one tar a part, and read them by reference.

The tar is a draft until its part is committed. A step that dies halfway through a record leaves only bytes beyond
`size`, which the next attempt overwrites (see `part_draft`). The name of a finished tar contains the digest of its
bytes: two attempts at a part with different bytes make two tars, and the rows of each refer to its own.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, lru_cache
from typing import BinaryIO, TypeVar, cast

from manifests import storage
from manifests.ledger import KEY_DIGITS
from manifests.records import ClipMedia, Media
from pipeline.errors import Unavailable
from stages.shards import split_frames
from stages.tar_format import header, padded

R = TypeVar("R")

OPEN_FILES = 4  # clips come video by video, so neighbours lie in one tar


class MediaReader:
    """Reads references to media of a run; the last few files stay open."""

    def __init__(self, root: str) -> None:
        """root: of the run; references are below it."""
        self.open = lru_cache(maxsize=OPEN_FILES)(lambda uri: storage.open_random(storage.join(root, uri)))

    def __call__(self, media: Media) -> memoryview:
        """Return the bytes of a reference. Raises OSError when the file ends before them."""
        data = self.open(media.uri).read_at(media.size, media.offset)
        if len(data) != media.size:
            raise OSError(f"{media.uri}: {media.size} bytes at {media.offset} are not there")
        return memoryview(data)

    def frames(self, media: ClipMedia) -> list[memoryview]:
        """Return the JPEGs of a clip, in order. Raises OSError for missing bytes, ValueError if sizes do not fit."""
        return split_frames(self(media.frames), media.frame_bytes)


@dataclass
class MediaTar:
    """The draft of a part's tar, at the local `path`.

    uri: the tar's uri in references until the part is committed: `<folder>/part-000012.tar`, or the same with the name
    of the draft; `place` replaces it.
    """

    uri: str
    path: str
    size: int = 0

    def add(self, name: str, data: bytes) -> Media:
        """Append a file. Returns the reference to its bytes."""
        with self._open_draft() as file:
            file.seek(self.size)
            file.write(b"".join((header(name, len(data)), data, bytes(padded(len(data)) - len(data)))))
        media = Media(uri=self.uri, offset=self.size + 512, size=len(data))
        self.size += 512 + padded(len(data))
        return media

    def place(self, root: str, before: Callable[[str], None] = lambda name: None) -> str:
        """Close the tar and move it below the root. Returns its name there: `<folder>/part-000012-<digest>.tar`.

        before: called with the name before the tar is visible there.
        """
        self.close()
        name = f"{self.uri[: self.uri.rindex('.tar')]}-{_digest(self.path)}.tar"
        before(name)
        storage.place(self.path, storage.join(root, name))
        return name

    def close(self) -> None:
        """End the tar: cut off what a dead attempt left, and write the two empty blocks."""
        with self._open_draft() as file:
            file.truncate(self.size)
            file.seek(self.size)
            file.write(bytes(1024))

    @contextmanager
    def _open_draft(self) -> Iterator[BinaryIO]:
        """Open the draft for a write, and lock it against a takeover. Raises Unavailable if it was taken over."""
        try:
            with open(self.path, "r+b" if self.size or os.path.exists(self.path) else "w+b") as file:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_SH)
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    raise FileNotFoundError(self.path)
                yield file
        except FileNotFoundError as error:
            raise Unavailable("another attempt at this part has taken over its draft: run again") from error


def _digest(path: str) -> str:
    from blake3 import blake3

    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()[:KEY_DIGITS]


def relocate_media(value: R, old: str, new: str) -> R:
    """Return a record or outcome in which references to the file `old` refer to the file `new`."""
    if isinstance(value, Media):
        return replace(value, uri=new) if value.uri == old else value
    if isinstance(value, tuple):
        return cast(R, tuple(relocate_media(each, old, new) for each in value))
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(
        value, **{name: relocate_media(getattr(value, name), old, new) for name in _field_names(type(value))}
    )


def media_of(value: object) -> Iterator[Media]:
    """Yield all references to media in a record or an outcome."""
    if isinstance(value, Media):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from media_of(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for name in _field_names(type(value)):
            yield from media_of(getattr(value, name))


@cache
def _field_names(record: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record))
