"""Where a step puts the media it makes, one tar a part, referenced by offset; and how others read them.

The tar is a draft until its part is committed, so a step that dies halfway through a record leaves nothing but bytes
beyond `size`, which the next attempt overwrites.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from manifests import storage
from manifests.records import Media
from stages.ustar import header, padded

OPEN_FILES = 4  # clips come video by video: neighbours lie in the same part's tar


class Reader:
    """Reads references to media of a run; the last few files stay open."""

    def __init__(self, root: str) -> None:
        """root: of the run; references are below it."""
        self.open = lru_cache(maxsize=OPEN_FILES)(lambda uri: storage.open_random(storage.join(root, uri)))

    def __call__(self, media: Media) -> memoryview:
        """The bytes of a reference. Raises OSError when the file ends before them."""
        data = self.open(media.uri).read_at(media.size, media.offset)
        if len(data) != media.size:
            raise OSError(f"{media.uri}: {media.size} bytes at {media.offset} are not there")
        return memoryview(data)


@dataclass
class MediaTar:
    """A part's tar in the making: `uri` is what it will be called below the root, `path` its local draft."""

    uri: str
    path: str
    size: int = 0

    def keep(self, name: str, data: bytes) -> Media:
        """Add a file, and say where its bytes lie."""
        with open(self.path, "r+b" if os.path.exists(self.path) else "w+b") as file:
            file.seek(self.size)
            file.write(b"".join((header(name, len(data)), data, bytes(padded(len(data)) - len(data)))))
        media = Media(uri=self.uri, offset=self.size + 512, size=len(data))
        self.size += 512 + padded(len(data))
        return media

    def close(self) -> None:
        """End the tar: cut what a dead attempt left, and write the two empty blocks."""
        with open(self.path, "r+b" if os.path.exists(self.path) else "w+b") as file:
            file.truncate(self.size)
            file.seek(self.size)
            file.write(bytes(1024))
