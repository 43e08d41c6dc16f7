"""What a member of a container is, and how it is named: `s3://bucket/00012.tar#000000012.mp4`, `a.parquet#17`.

The stamp of a member is the stamp of its container, then where the member lies in it: `<stamp>@<place>`. So a worker
finds the member's bytes without any index. The uri of a companion has its place itself: `00012.tar#12.srt@5120+93`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from manifests import storage
from manifests.records import Source

TARS = (".tar",)
STREAMS = (".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2")  # to be read from their beginning
ZIPS = (".zip",)
TABLES = (".parquet", ".arrow", ".feather")
ENDINGS = (*TARS, *STREAMS, *ZIPS, *TABLES)
_ENDING = "|".join(map(re.escape, ENDINGS))
MEMBER = re.compile(rf"(?is)(.*?(?:{_ENDING}))#(.+)")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a container, or what is wrong with it.

    size: bytes of its content. place: where its content lies, in words that the container's reader understands.
    offset: of its content in a tar; -1 where the container is none.
    """

    name: str
    size: int
    place: str = ""
    offset: int = -1
    fault: str = ""


class Unreadable(ValueError):
    """A container cannot be read, or not beyond some point; its words are the reason of a row."""


def is_container(uri: str) -> bool:
    """Tell whether a file of this name is taken for a container."""
    return uri.lower().endswith(ENDINGS)


def split_uri(uri: str) -> tuple[str, str] | None:
    """Split a URI into container and member; None for the URI of a file, even if its name contains `#`."""
    found = MEMBER.fullmatch(uri) if "#" in uri else None
    if found is None or (storage.is_local(uri) and os.path.lexists(storage.normal(uri))):
        return None
    return found[1], found[2]


def container_of(uri: str) -> str:
    """Return the file that holds the bytes of a source: its container, or itself."""
    found = split_uri(uri)
    return found[0] if found else uri


def is_unmeasured(source: Source) -> bool:
    """Tell whether nobody has read a row of a table whose index tells neither its size nor its digest."""
    is_told = source.bytes or source.sha256 is not None or source.fault or source.removed
    return not is_told and container_of(source.uri).lower().endswith(TABLES)


def member_stamp(container: str, place: str) -> str:
    """Join the stamp of a container and a place to the stamp of a member."""
    return f"{container}@{place}"


def stamp_parts(stamp: str) -> tuple[str, str]:
    """Split a member's stamp into container stamp and place. Raises ValueError for the stamp of a file."""
    container, mark, place = stamp.rpartition("@")
    if not mark:
        raise ValueError(f"{stamp!r} is the stamp of a file, not of a member")
    return container, place


def read_unit(uri: str, stamp: str) -> str:
    """Name the unit that is read as a whole for this source: a row group or a compressed tar; "" for other sources."""
    container, mark, place = stamp.rpartition("@")
    if not mark or not place:
        return ""
    name = uri.partition("#")[0].lower()
    if name.endswith(TABLES):
        return f"{uri.rpartition('#')[0]}/{place.rpartition('/')[0]}"
    return f"{name}@{container}" if name.endswith(STREAMS) else ""
