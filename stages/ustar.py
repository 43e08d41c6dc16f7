"""The tar format that the shard writer and the shard reader share.

In: a member's name and size, or the bytes of a tar. Out: a 512-byte header, or the members with their byte
offsets. Plain USTAR only: what a shard needs is a small part of tar, and a strict parser of that part is
faster than `tarfile` and names the byte at which a shard is broken, where `tarfile` quietly stops.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
"""The two zero blocks that close a tar."""
# 11 octal digits.
SIZE_LIMIT = 8**11
NAME_LIMIT = 100
# GNU tar pads an archive with zeros to a multiple of this.
_RECORD = 10240
_ZEROS = bytes(BLOCK)

_MODE_TO_GID = b"0000644\0" + b"0000000\0" + b"0000000\0"
_MTIME = b"00000000000\0"
_MAGIC = b"ustar\x0000"
_TYPE_TO_END = b"0" + bytes(100) + _MAGIC + bytes(247)
_SUM = slice(148, 156)
# The checksum counts its own field as eight spaces.
_SUM_BLANK = 8 * 0x20
_SUM_OF_REST = _SUM_BLANK + sum(_TYPE_TO_END)


class TarError(ValueError):
    """A tar that is not whole, plain USTAR; the message names the byte offset and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar; sizes in bytes, offsets (`offset`: of its data) from the start of the tar."""

    name: str
    offset: int
    size: int
    header_offset: int


def padded(size: int) -> int:
    """The bytes that data of this size take in a tar: up to the next multiple of 512."""
    return -(-size // BLOCK) * BLOCK


def header(name: str, size: int) -> bytes:
    """The 512-byte USTAR header (POSIX.1-1988) of a file: mode 0644; uid, gid and mtime 0; no owner names.

    Equal inputs give equal bytes. ValueError for a name over 100 bytes or a size of 8 GiB or more.
    """
    encoded = name.encode()
    if not encoded or len(encoded) > NAME_LIMIT or b"\0" in encoded:
        raise ValueError(f"tar member {name!r}: a name has 1 to {NAME_LIMIT} bytes and no NUL; shorten the key")
    if not 0 <= size < SIZE_LIMIT:
        raise ValueError(f"tar member {name!r}: {size} bytes do not fit, the limit is 8 GiB - 1; split the sample")
    start = encoded.ljust(NAME_LIMIT, b"\0") + _MODE_TO_GID + b"%011o\0" % size + _MTIME
    return b"%b%06o\0 %b" % (start, sum(start) + _SUM_OF_REST, _TYPE_TO_END)


def members(buffer: memoryview | mmap.mmap) -> Iterator[Member]:
    """All members of a tar, in order. TarError at the first fault, a missing end included."""
    view = memoryview(buffer)
    offset = 0
    while (member := member_at(view, offset)) is not None:
        yield member
        offset = member.offset + padded(member.size)
    check_end(view, offset)


def member_at(view: memoryview, offset: int) -> Member | None:
    """The member whose header starts at `offset`, or None at a zero block (the end). Errors as `members`."""
    block = bytes(view[offset : offset + BLOCK])
    if not block:
        raise TarError(f"byte {offset}: the tar ends without its two zero blocks; it was cut or never closed")
    if len(block) < BLOCK:
        raise TarError(f"byte {offset}: the tar is cut {len(block)} bytes into a header; fetch or write it again")
    if block == _ZEROS:
        return None
    _check_header(block, offset)
    member = Member(_name(block, offset), offset + BLOCK, _octal(block[124:136], offset, "size"), offset)
    if member.offset + padded(member.size) > len(view):
        raise TarError(
            f"byte {offset}: the tar is cut inside {member.name!r}, which has {member.size} bytes from byte "
            f"{member.offset} on; the tar ends at byte {len(view)}"
        )
    return member


def check_end(view: memoryview, offset: int) -> None:
    """TarError unless the tar ends at `offset`, with two zero blocks and at most zero padding after them."""
    tail = len(view) - offset
    if tail < len(END):
        raise TarError(f"byte {offset}: {max(tail, 0)} bytes stand where the two zero blocks of the end belong")
    if tail > _RECORD + BLOCK or bytes(view[offset:]).count(0) != tail:
        raise TarError(f"byte {offset}: there is data after the end of the tar; is this several tars in one file?")


def _check_header(block: bytes, offset: int) -> None:
    stated = _octal(block[_SUM], offset, "checksum")
    found = sum(block) - sum(block[_SUM]) + _SUM_BLANK
    if stated != found:
        raise TarError(f"byte {offset}: the header's checksum is {found}, it says {stated}; the header is damaged")
    if block[257:265] != _MAGIC:
        raise TarError(f"byte {offset}: not a USTAR header (magic {block[257:265]!r}); use tar --format=ustar")
    if block[156:157] not in (b"0", b"\0"):
        raise TarError(f"byte {offset}: type {block[156:157]!r} is not a regular file; a shard holds nothing else")


def _octal(field: bytes, offset: int, what: str) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise TarError(f"byte {offset}: the header's {what} {field!r} is not an octal number")
    return int(digits, 8)


def _name(block: bytes, offset: int) -> str:
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    try:
        return (prefix + b"/" + name if prefix else name).decode()
    except UnicodeDecodeError:
        raise TarError(f"byte {offset}: the member's name {name!r} is not UTF-8") from None
