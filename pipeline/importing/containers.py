"""Read media that lie in tars and zip files: `archive.tar#folder/picture.jpg` names a member."""

from __future__ import annotations

import re
from functools import lru_cache

from manifests import storage
from manifests.ledger import one_line
from manifests.retries import StoreAway
from pipeline.errors import BadMedia
from pipeline.sources.containers.archive import Archive
from pipeline.sources.containers.members import STREAMS, TARS, ZIPS, Unreadable

ENDINGS = "|".join(map(re.escape, (*TARS, *STREAMS, *ZIPS)))
ARCHIVE = re.compile(rf"(.+?(?:{ENDINGS}))#(.+)", re.DOTALL | re.IGNORECASE)
OPEN = 16  # archives a process keeps open, with the list of their members


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
        return _opened(archive, entry.size, entry.stamp).read(name)
    except KeyError as error:
        raise BadMedia("no such member of the archive", f"{name} in {archive}") from error
    except StoreAway:
        raise
    except (Unreadable, OSError) as error:
        raise BadMedia("an archive that cannot be read", f"{archive}: {one_line(error)}") from error


@lru_cache(OPEN)
def _opened(archive: str, size: int, _stamp: str) -> Archive:
    """An archive, opened once as long as it is not replaced."""
    return Archive(archive, size)
