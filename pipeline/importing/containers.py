"""Media that lie in tars of others: `archive.tar#folder/picture.jpg` in, the bytes of that member out."""

from __future__ import annotations

import re
import tarfile
import zlib
from functools import lru_cache

from manifests import storage
from manifests.retries import StoreAway
from pipeline.errors import BadMedia

ARCHIVE = re.compile(r"(.+?\.(?:tar|tar\.gz|tgz))#(.+)", re.DOTALL)
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
    return tarfile.open(fileobj=storage.open_random(archive), mode="r:*")
