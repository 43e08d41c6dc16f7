"""Reading shards: tars of samples, one sample a key.

In: a local tar (mapped, not read) or its bytes, with the `.tar.idx` beside it where there is one. Out:
samples whose members are views into the mapping, so that nothing is copied before the decoder asks for it.
Random access is what lets training resume in mid-epoch and hand each rank equally many samples; a tar
stream gives neither.
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
    """One sample, undecoded. `members` maps extension to bytes; `offset` and `size` (bytes, with headers and
    padding) say where it lies in its tar. The views keep the mapping alive, also after the reader is closed.
    """

    key: str
    members: dict[str, memoryview]
    offset: int
    size: int


class ShardReader:
    """A sequence of the samples of one shard, in the tar's order.

    `source` is a local path or a tar's bytes. Sample offsets come from `offsets`, else from `<path>.idx`
    (then no header is read before its sample is asked for), else from a scan of all headers, which also
    checks them all. Errors: TarError (a ValueError) naming the file, the byte and the fault; IndexError
    beyond the last sample.
    """

    def __init__(self, source: str | os.PathLike[str] | Bytes, offsets: Sequence[int] | None = None) -> None:
        self.name, self._view = _opened(source)
        if offsets is None and isinstance(source, (str, os.PathLike)) and os.path.exists(self.name + ".idx"):
            offsets = read_index(self.name + ".idx")
        try:
            self._offsets = _scanned(self._view) if offsets is None else list(offsets)
            check_end(self._view, self._offsets[-1])
        except TarError as error:
            raise self._named(error) from None

    @property
    def offsets(self) -> list[int]:
        """The n+1 offsets: where each sample starts, and where the last one ends."""
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
            raise self._named(error) from None

    def __iter__(self) -> Iterator[RawSample]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the mapping; it ends with the last view that a sample still holds."""
        self._view.release()

    def _named(self, error: TarError) -> TarError:
        return TarError(f"shard {self.name}: {error}")


def read_index(path: str | os.PathLike[str]) -> list[int]:
    """The n+1 offsets of a `.tar.idx`: where each of n samples starts, and where the last one's padding ends.

    Little-endian uint64, as Megatron-Energon writes them. TarError where they cannot be offsets into a tar.
    """
    with open(path, "rb") as file:
        content = file.read()
    if not content or len(content) % 8:
        raise TarError(f"index {os.fspath(path)}: {len(content)} bytes are not one or more uint64; build it again")
    offsets = list(struct.unpack(f"<{len(content) // 8}Q", content))
    rising = all(a < b for a, b in pairwise(offsets))
    if offsets[0] != 0 or not rising or any(offset % BLOCK for offset in offsets):
        raise TarError(f"index {os.fspath(path)}: offsets must rise from 0 in multiples of {BLOCK}; build it again")
    return offsets


def split_frames(mjpg: Bytes, sizes: Sequence[int]) -> list[memoryview]:
    """The pictures of a `.mjpg` or `.jpgs` member: JPEGs end to end, their sizes in bytes from the json. No copy.

    ValueError where the sizes do not add up to the member.
    """
    view = memoryview(mjpg)
    if sum(sizes) != len(view) or any(size < 1 for size in sizes):
        raise ValueError(f"{len(sizes)} frames of {sum(sizes)} bytes do not fill a member of {len(view)} bytes")
    frames, start = [], 0
    for size in sizes:
        frames.append(view[start : start + size])
        start += size
    return frames


def _opened(source: str | os.PathLike[str] | Bytes) -> tuple[str, memoryview]:
    if not isinstance(source, (str, os.PathLike)):
        return "<bytes>", memoryview(source)
    name = os.fspath(source)
    with open(name, "rb") as file:
        # An empty file cannot be mapped; the check of the end then says what is wrong with it.
        if os.fstat(file.fileno()).st_size == 0:
            return name, memoryview(b"")
        return name, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _scanned(view: memoryview) -> list[int]:
    """The n+1 sample offsets, from the headers. A key that comes back would read as two samples."""
    offsets, end, seen, key = [0], 0, set[str](), ""
    for member in members(view):
        member_key, _ = _split_name(member)
        if member_key != key:
            if member_key in seen:
                raise TarError(f"byte {member.header_offset}: key {member_key!r} comes again; write the shard anew")
            if end:
                offsets.append(end)
            seen.add(key := member_key)
        end = member.offset + padded(member.size)
    return [*offsets, end] if end else offsets


def sample_at(view: memoryview, start: int, stop: int) -> RawSample:
    """The sample whose headers and members fill bytes `start` to `stop` of `view`. TarError where they do not."""
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
    """Key and extension, cut at the first dot of the base name, as WebDataset and Energon do."""
    folder, slash, base = member.name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not stem or not dot:
        raise TarError(f"byte {member.header_offset}: {member.name!r} is not <key>.<extension>")
    return folder + slash + stem, extension
