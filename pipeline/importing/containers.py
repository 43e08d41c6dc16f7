"""Media that lie in tars of others: `archive.tar#folder/picture.jpg` in, the bytes of that member out."""

from __future__ import annotations

import io
import re
import tarfile
import zlib
from functools import lru_cache
from typing import Any

from manifests import storage
from manifests.retries import StoreAway
from pipeline.errors import BadMedia

ARCHIVE = re.compile(r"(.+?\.(?:tar|tar\.gz|tgz))#(.+)", re.DOTALL)
OPEN = 16  # archives a process keeps open, with the list of their members
PIECE = 1 << 18  # bytes of a request for headers


def parts_of(uri: str) -> tuple[str, str] | None:
    """Archive and member of a name; None if it is of a file of its own."""
    found = ARCHIVE.fullmatch(uri)
    return (found.group(1), found.group(2)) if found else None


def member(archive: str, name: str) -> bytes:
    """The bytes of a member. BadMedia where there is no such archive or member, or where it is damaged."""
    entry = storage.look(archive)
    if entry is None:
        raise BadMedia("no such file", archive)
    try:
        file = _opened(archive, entry.stamp).extractfile(name)
        if file is None:
            raise KeyError(name)
        return file.read()
    except KeyError as error:
        raise BadMedia("no such member of the tar", f"{name} in {archive}") from error
    except StoreAway:
        raise
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BadMedia("a tar that cannot be read", f"{archive}: {' '.join(str(error).split())}") from error


@lru_cache(OPEN)
def _opened(archive: str, _stamp: str) -> tarfile.TarFile:
    """An archive, opened once as long as it is not replaced."""
    file = storage.open_random(archive) if storage.is_local(archive) else _buffered(archive)
    return tarfile.open(fileobj=file, mode="r:*")


def _buffered(uri: str) -> io.BufferedReader:
    """A remote file that is read in pieces: else each header of a tar would be a request."""
    return io.BufferedReader(_Raw(storage.open_random(uri)), PIECE)


class _Raw(io.RawIOBase):
    """A remote file as `io.BufferedReader` wants one."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
