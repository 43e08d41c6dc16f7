"""Read media stored in tar and zip files: `archive.tar#folder/picture.jpg` names a member."""

from __future__ import annotations

import re
from functools import lru_cache

from manifests import storage
from manifests.ledger import one_line
from manifests.retries import StoreUnreachable
from pipeline.errors import BadMedia
from pipeline.sources.containers.archive import Archive
from pipeline.sources.containers.members import STREAMS, TARS, ZIPS, Unreadable

ENDINGS = "|".join(map(re.escape, (*TARS, *STREAMS, *ZIPS)))
ARCHIVE = re.compile(rf"(.+?(?:{ENDINGS}))#(.+)", re.DOTALL | re.IGNORECASE)
MAX_OPEN = 16  # archives a process keeps open, with the lists of their members


def split_member_uri(uri: str) -> tuple[str, str] | None:
    """Split `archive.tar#member` into archive and member; None if the URI names a plain file."""
    found = ARCHIVE.fullmatch(uri)
    return (found.group(1), found.group(2)) if found else None


def read_member(archive: str, name: str) -> bytes:
    """Return the bytes of a member. Raises BadMedia if the archive or the member is missing or damaged."""
    entry = storage.stat(archive)
    if entry is None:
        raise BadMedia("no such file", archive)
    try:
        return _open_archive(archive, entry.size, entry.stamp).read(name)
    except KeyError as error:
        raise BadMedia("no such member of the archive", f"{name} in {archive}") from error
    except StoreUnreachable:
        raise
    except (Unreadable, OSError) as error:
        raise BadMedia("the archive cannot be read", f"{archive}: {one_line(error)}") from error


@lru_cache(MAX_OPEN)
def _open_archive(archive: str, size: int, _stamp: str) -> Archive:
    """Open an archive, or return the open one; `_stamp` changes when the file is replaced."""
    return Archive(archive, size)
