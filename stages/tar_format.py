"""The tar format that the shard writer and the shard reader share.

In: a member's name and size, or the bytes of a tar. Out: a 512-byte header, or the members with their byte
offsets. Written is plain USTAR; read are the forms of other writers too: PAX (tarfile, webdataset) and GNU tar. A
strict parser is faster than `tarfile` and names the byte at which a shard is broken, where `tarfile` quietly stops.
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

# Types of headers (POSIX.1-2001, pax; GNU tar's manual): of a file, a folder, and of facts about the member after it.
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_PAX, _PAX_OF_ALL, _GNU_NAME, _GNU_LINK = b"x", b"g", b"L", b"K"
_FACTS = (_PAX, _PAX_OF_ALL, _GNU_NAME, _GNU_LINK)
_MAGICS = (_MAGIC, b"ustar  \0")  # the second is GNU tar's


class TarError(ValueError):
    """A tar that is not whole, or of no known form; the message names the byte offset and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar; sizes in bytes, offsets (`offset`: of its data) from the start of the tar.

    header_offset: of its first header: it may have headers with more facts before its own.
    """

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
    """The member whose headers start at `offset`, or None at a zero block (the end). Errors as `members`.

    Folders before the member are skipped.
    """
    at, facts = _skipped(view, offset)
    block = _header_at(view, at)
    if block is None:
        return None
    if block[156:157] not in _FILES:
        raise TarError(f"byte {at}: type {block[156:157]!r} is not a regular file; a shard holds nothing else")
    name = facts.get("path") or _name(block, at)
    size = int(facts["size"]) if facts.get("size", "").isdecimal() else _number(block[124:136], at, "size")
    member = Member(name.removeprefix("./"), at + BLOCK, size, offset)
    _check_inside(view, at, member.name, size)
    return member


def check_end(view: memoryview, offset: int) -> None:
    """TarError unless the tar ends at `offset`, with two zero blocks and at most zero padding after them."""
    if len(view) - offset > BLOCK and bytes(view[offset : offset + BLOCK]) != _ZEROS:
        offset = _folders_after(view, offset)
    tail = len(view) - offset
    if tail < len(END):
        raise TarError(f"byte {offset}: {max(tail, 0)} bytes stand where the two zero blocks of the end belong")
    if tail > _RECORD + BLOCK or bytes(view[offset:]).count(0) != tail:
        raise TarError(f"byte {offset}: there is data after the end of the tar; is this several tars in one file?")


def _folders_after(view: memoryview, offset: int) -> int:
    """Where the folders that stand at an offset end; the offset itself where something else stands there."""
    try:
        at, _ = _skipped(view, offset)
        return at if _header_at(view, at) is None else offset
    except TarError:
        return offset


def _skipped(view: memoryview, offset: int) -> tuple[int, dict[str, str]]:
    """Offset of the first header of a file from `offset` on, and the facts that stand before it: its path and size."""
    facts: dict[str, str] = {}
    while (block := _header_at(view, offset)) is not None and block[156:157] in (*_FACTS, _FOLDER):
        kind, size = block[156:157], _number(block[124:136], offset, "size")
        _check_inside(view, offset, "a header of more facts", size)
        data = bytes(view[offset + BLOCK : offset + BLOCK + size])
        if kind == _FOLDER:
            facts = {}
        elif kind == _GNU_NAME:
            facts["path"] = _text(data.rstrip(b"\0"), offset)
        elif kind == _PAX:
            facts |= _records(data, offset)
        offset += BLOCK + padded(size)
    return offset, facts


def _records(data: bytes, offset: int) -> dict[str, str]:
    """Path and size in the records of a PAX header, each `<length> <key>=<value>\\n`."""
    found: dict[str, str] = {}
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise TarError(f"byte {offset}: a pax header that cannot be read: {data[:20]!r}")
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if key in (b"path", b"size"):
            found[key.decode()] = _text(value, offset)
        data = data[int(length) :]
    return found


def _header_at(view: memoryview, offset: int) -> bytes | None:
    """The checked header at an offset; None for a zero block."""
    block = bytes(view[offset : offset + BLOCK])
    if not block:
        raise TarError(f"byte {offset}: the tar ends without its two zero blocks; it was cut or never closed")
    if len(block) < BLOCK:
        raise TarError(f"byte {offset}: the tar is cut {len(block)} bytes into a header; fetch or write it again")
    if block == _ZEROS:
        return None
    _check_header(block, offset)
    return block


def _check_inside(view: memoryview, offset: int, name: str, size: int) -> None:
    if offset + BLOCK + padded(size) > len(view):
        raise TarError(
            f"byte {offset}: the tar is cut inside {name!r}, which has {size} bytes from byte "
            f"{offset + BLOCK} on; the tar ends at byte {len(view)}"
        )


def _check_header(block: bytes, offset: int) -> None:
    stated = _octal(block[_SUM], offset, "checksum")
    found = sum(block) - sum(block[_SUM]) + _SUM_BLANK
    if stated != found:
        raise TarError(f"byte {offset}: the header's checksum is {found}, it says {stated}; the header is damaged")
    if block[257:265] not in _MAGICS:
        raise TarError(f"byte {offset}: neither a USTAR nor a GNU header (magic {block[257:265]!r}); use GNU tar")


def _octal(field: bytes, offset: int, what: str) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise TarError(f"byte {offset}: the header's {what} {field!r} is not an octal number")
    return int(digits, 8)


def _number(field: bytes, offset: int, what: str) -> int:
    """A number in octal digits, or as GNU tar writes larger ones: in 95 bits after a first one that is set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    return _octal(field, offset, what)


def _name(block: bytes, offset: int) -> str:
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    is_ustar = block[257:265] == _MAGIC  # GNU tar keeps times where USTAR has the prefix
    return _text(prefix + b"/" + name if prefix and is_ustar else name, offset)


def _text(name: bytes, offset: int) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise TarError(f"byte {offset}: the member's name {name!r} is not UTF-8") from None
