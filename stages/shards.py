"""Read shards: tars of samples, one sample per key.

In: a local tar (mapped, not read) or its bytes, and its `.tar.idx` if it exists. Out: samples whose members are views
into the mapping, so that reading copies nothing. Training needs random access to resume within an epoch and to give
each rank the same number of packs; a tar stream has no random access.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.tar_format import BLOCK, Member, TarError, check_end, member_at, members, padded

Bytes = bytes | bytearray | memoryview | mmap.mmap


@dataclass(frozen=True, slots=True)
class RawSample:
    """One undecoded sample. members: bytes by extension; their views keep the mapping alive after the reader is closed.

    offset, size: byte range of the sample in its tar, with headers and padding.
    """

    key: str
    members: dict[str, memoryview]
    offset: int
    size: int


class ShardReader:
    """A sequence of the samples of one shard, in the tar's order.

    source: a local path or a tar's bytes. Offsets of samples come from `offsets`, else from `<path>.idx`, else from a
    scan that checks all headers; without a scan a header is read with its sample. Raises TarError (a ValueError) with
    file, byte and fault, and IndexError beyond the last sample.
    """

    def __init__(self, source: str | os.PathLike[str] | Bytes, offsets: Sequence[int] | None = None) -> None:
        self.name, self._view = _map_file(source)
        if offsets is None and isinstance(source, (str, os.PathLike)) and os.path.exists(self.name + ".idx"):
            offsets = read_index(self.name + ".idx")
        try:
            self._offsets = _scan_offsets(self._view) if offsets is None else list(offsets)
            check_end(self._view, self._offsets[-1])
        except TarError as error:
            raise self._with_file_name(error) from None

    @property
    def offsets(self) -> list[int]:
        """The n+1 offsets: the start of each sample, and the end of the last."""
        return list(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> RawSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}: it has {len(self)} samples")
        index %= len(self)
        try:
            return sample_at(self._view, self._offsets[index], self._offsets[index + 1])
        except TarError as error:
            raise self._with_file_name(error) from None

    def __iter__(self) -> Iterator[RawSample]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the mapping; it is closed when no sample holds a view."""
        self._view.release()

    def _with_file_name(self, error: TarError) -> TarError:
        return TarError(f"shard {self.name}: {error}")


def read_index(path: str | os.PathLike[str]) -> list[int]:
    """Read the n+1 offsets of a `.tar.idx`: the start of each of n samples, and the end of the last one's padding.

    The file has little-endian uint64, as Megatron-Energon writes. Raises TarError if they are no offsets into a tar.
    """
    with open(path, "rb") as file:
        content = file.read()
    if not content or len(content) % 8:
        raise TarError(
            f"index {os.fspath(path)}: expected uint64 values, got {len(content)} bytes; build the index again"
        )
    offsets = list(struct.unpack(f"<{len(content) // 8}Q", content))
    is_rising = all(a < b for a, b in pairwise(offsets))
    if offsets[0] != 0 or not is_rising or any(offset % BLOCK for offset in offsets):
        raise TarError(f"index {os.fspath(path)}: expected rising multiples of {BLOCK} from 0; build the index again")
    return offsets


def split_frames(mjpg: Bytes, sizes: Sequence[int]) -> list[memoryview]:
    """Split a `.mjpg` or `.jpgs` member, concatenated JPEGs, by their sizes in bytes. Returns views, no copies.

    Raises ValueError if the sum of the sizes is not the member's size.
    """
    view = memoryview(mjpg)
    if sum(sizes) != len(view) or any(size < 1 for size in sizes):
        raise ValueError(f"expected {len(sizes)} frames of {sum(sizes)} bytes, got a member of {len(view)} bytes")
    frames, start = [], 0
    for size in sizes:
        frames.append(view[start : start + size])
        start += size
    return frames


def _map_file(source: str | os.PathLike[str] | Bytes) -> tuple[str, memoryview]:
    if not isinstance(source, (str, os.PathLike)):
        return "<bytes>", memoryview(source)
    name = os.fspath(source)
    with open(name, "rb") as file:
        # An empty file cannot be mapped; `check_end` reports its fault.
        if os.fstat(file.fileno()).st_size == 0:
            return name, memoryview(b"")
        return name, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _scan_offsets(view: memoryview) -> list[int]:
    """Find the n+1 sample offsets from the headers. Raises TarError if a key's members are not adjacent."""
    offsets, end, seen_keys, key = [0], 0, set[str](), ""
    for member in members(view):
        member_key, _ = _split_name(member)
        if member_key != key:
            if member_key in seen_keys:
                raise TarError(f"byte {member.header_offset}: key {member_key!r} comes again; write the shard again")
            if end:
                offsets.append(end)
            seen_keys.add(key := member_key)
        end = member.offset + padded(member.size)
    return [*offsets, end] if end else offsets


def sample_at(view: memoryview, start: int, stop: int) -> RawSample:
    """Return the sample at bytes `start` to `stop` of `view`. Raises TarError if its members do not fill the range."""
    key, found, offset = "", dict[str, memoryview](), start
    while offset < stop:
        member = member_at(view, offset)
        if member is None:
            raise TarError(f"byte {offset}: the tar ends inside a sample; its index does not belong to it")
        member_key, extension = _split_name(member)
        if (found and member_key != key) or extension in found:
            raise TarError(f"byte {offset}: {member.name!r} does not fit sample {key!r} which holds {list(found)}")
        key, found[extension] = member_key, view[member.offset : member.offset + member.size]
        offset = member.offset + padded(member.size)
    if offset != stop:
        raise TarError(f"byte {stop}: no sample starts here, though the index says so; build the index again")
    return RawSample(key, found, start, stop - start)


def _split_name(member: Member) -> tuple[str, str]:
    """Split a member's name at the first dot of its base name into key and extension, as WebDataset does."""
    folder, slash, base = member.name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not stem or not dot:
        raise TarError(f"byte {member.header_offset}: {member.name!r} is not <key>.<extension>")
    return folder + slash + stem, extension
