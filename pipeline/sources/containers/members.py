"""Names and stamps of members of containers: `s3://bucket/00012.tar#000000012.mp4`, `a.parquet#17`.

The stamp of a member is the stamp of its container and the member's place in it: `<stamp>@<place>`. So a worker finds
the bytes without an index. The uri of a companion contains its place: `00012.tar#12.srt@5120+93`.
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
    """A file in a container, or a fault.

    size: bytes of its content. place: position of its content, in the notation of the container's reader. offset: of
    its content in a tar; -1 in other containers.
    """

    name: str
    size: int
    place: str = ""
    offset: int = -1
    fault: str = ""


class Unreadable(ValueError):
    """A container cannot be read, or only in part. The message is the reason of a row."""


def is_container(uri: str) -> bool:
    """Return whether a file of this name is read as a container."""
    return uri.lower().endswith(ENDINGS)


def split_uri(uri: str) -> tuple[str, str] | None:
    """Split a URI into container and member; None for the URI of a file, even if its name contains `#`."""
    found = MEMBER.fullmatch(uri) if "#" in uri else None
    if found is None or (storage.is_local(uri) and os.path.lexists(storage.normal(uri))):
        return None
    return found[1], found[2]


def container_of(uri: str) -> str:
    """Return the file with the bytes of a source: its container, or the source itself."""
    found = split_uri(uri)
    return found[0] if found else uri


def is_unmeasured(source: Source) -> bool:
    """Return whether size and digest of a table's row are unknown, because no step has read it."""
    is_told = source.bytes or source.sha256 is not None or source.fault or source.removed
    return not is_told and container_of(source.uri).lower().endswith(TABLES)


def member_stamp(container: str, place: str) -> str:
    """Join a container's stamp and a member's place to the member's stamp."""
    return f"{container}@{place}"


def stamp_parts(stamp: str) -> tuple[str, str]:
    """Split a member's stamp into the container's stamp and the place. Raises ValueError for the stamp of a file."""
    container, mark, place = stamp.rpartition("@")
    if not mark:
        raise ValueError(f"{stamp!r} is the stamp of a file, not of a member")
    return container, place


def read_unit(uri: str, stamp: str) -> str:
    """Return the unit that is read as a whole for this source: a row group or a compressed tar; "" for others."""
    container, mark, place = stamp.rpartition("@")
    if not mark or not place:
        return ""
    name = uri.partition("#")[0].lower()
    if name.endswith(TABLES):
        return f"{uri.rpartition('#')[0]}/{place.rpartition('/')[0]}"
    return f"{name}@{container}" if name.endswith(STREAMS) else ""
