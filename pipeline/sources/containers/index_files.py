"""Files that tools write beside their containers: indexes of members, and a downloader's tables and counts.

video2dataset writes `00000.parquet` and `00000_stats.json` beside `00000.tar`; `wds2idx` of DALI writes `00000.idx`,
and Megatron-Energon `00000.tar.idx`. None of these files is a source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise

from manifests import storage
from pipeline.sources.containers import tar_header
from pipeline.sources.containers.members import TARS, Member, Unreadable
from pipeline.sources.containers.tar_header import BLOCK
from pipeline.sources.containers.tar_index import Bytes, cut_off, is_hidden, name_fault

INDEX_ENDINGS = (".idx", ".tar.idx", ".parquet", "_stats.json")  # after the stem of a tar
SMALLEST = 16 << 10  # bytes of a sample: of smaller ones, what lies around the offsets would be half of the tar
OFFSET = 8  # bytes of an offset in Energon's index
VERSION = "v1.2"  # of DALI's index: those before it have no names


def index_uris(uris: Iterable[str]) -> Iterator[str]:
    """Yield the files among these that a tool wrote beside a tar of the same listing."""
    listed = set(uris)
    for uri in listed:
        if uri.lower().endswith(TARS):
            yield from listed.intersection(uri[: -len(".tar")] + ending for ending in INDEX_ENDINGS)


def read_indexes(uri: str) -> list[bytes]:
    """Return the contents of the index files of DALI and Energon beside a tar."""
    names = (f"{uri[: -len('.tar')]}.idx", f"{uri}.idx")
    return [data for name in names if (data := storage.read_if_there(name)) is not None]


def dali_members(index: bytes, file: Bytes, size: int) -> list[Member] | None:
    """Return a tar's members from DALI's index; None if the index does not fit. size: of the tar in bytes.

    A line of the index is a sample: ending, offset, size and, since v1.2, name of each of its members.
    """
    head, *lines = index.decode(errors="replace").split("\n")
    if not head.startswith(VERSION):
        return None
    with suppress(ValueError):  # a name with a space in it, or damage
        members = [member for line in lines for member in _members(line.split(), size)]
        return members if members and all(_is_at(file, each) for each in (members[0], members[-1])) else None
    return None


def energon_offsets(index: bytes, file: Bytes, size: int) -> list[int] | None:
    """Return the start of each sample of a tar, from Energon's index; None if the index is invalid or does not fit.

    The index holds little-endian uint64: the offset of each sample, then the end of the last one.
    """
    if len(index) < 2 * OFFSET or len(index) % OFFSET or index.startswith(b"v1"):
        return None
    *starts, end = struct.unpack(f"<{len(index) // OFFSET}Q", index)
    if starts[0] or end > size or any(after <= before for before, after in pairwise([*starts, end])):
        return None
    try:
        for start in (starts[len(starts) // 2], starts[-1]):
            tar_header.parse(file.read_at(BLOCK, start))
    except Unreadable:
        return None
    return starts if size > len(starts) * SMALLEST else None


def _is_at(file: Bytes, member: Member) -> bool:
    """Return whether the tar has a member of this size there; the tar may be newer than its index."""
    return tar_header.parse(file.read_at(BLOCK, member.offset - BLOCK)).size == member.size


def _members(words: list[str], size: int) -> Iterator[Member]:
    for _, offset, length, name in zip(*(words[n::4] for n in range(4)), strict=False):
        if not is_hidden(name.removeprefix("./")):
            missing = int(offset) + int(length) - size
            fault = name_fault(name) or (cut_off(int(length) - missing, int(length)) if missing > 0 else "")
            yield Member(name.removeprefix("./"), int(length), f"{offset}+{length}", int(offset), fault)
