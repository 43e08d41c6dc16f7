"""Write and parse the tar format of shards.

In: a member's name and size, or the bytes of a tar. Out: a 512-byte header, or the members with their byte offsets.
Headers are written as USTAR; the parser also reads PAX (tarfile, webdataset) and GNU tar. It is faster than `tarfile`
and reports the byte at which a shard is broken, where `tarfile` silently stops.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
"""The two zero blocks at the end of a tar."""
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

# Types of headers (POSIX.1-2001, pax; GNU tar's manual): files, folders, and extra headers for the next member.
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_PAX, _PAX_OF_ALL, _GNU_NAME, _GNU_LINK = b"x", b"g", b"L", b"K"
_EXTRA_HEADERS = (_PAX, _PAX_OF_ALL, _GNU_NAME, _GNU_LINK)
_MAGICS = (_MAGIC, b"ustar  \0")  # the second is GNU tar's


class TarError(ValueError):
    """A tar is incomplete or has an unknown format; the message has the byte offset and the fault."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar. offset: of its data, in bytes from the start of the tar. size: in bytes.

    header_offset: of its first header; extra headers can come before the file's own.
    """

    name: str
    offset: int
    size: int
    header_offset: int


def padded(size: int) -> int:
    """Round a size up to the next multiple of 512, as data are padded in a tar."""
    return -(-size // BLOCK) * BLOCK


def header(name: str, size: int) -> bytes:
    """Return the 512-byte USTAR header (POSIX.1-1988) of a file: mode 0644; uid, gid and mtime 0; no owner names.

    Equal inputs give equal bytes. Raises ValueError for a name over 100 bytes or a size of 8 GiB or more.
    """
    encoded = name.encode()
    if not encoded or len(encoded) > NAME_LIMIT or b"\0" in encoded:
        raise ValueError(
            f"tar member {name!r}: expected a name of 1 to {NAME_LIMIT} bytes without NUL; shorten the key"
        )
    if not 0 <= size < SIZE_LIMIT:
        raise ValueError(f"tar member {name!r}: expected at most 8 GiB - 1, got {size} bytes; split the sample")
    start = encoded.ljust(NAME_LIMIT, b"\0") + _MODE_TO_GID + b"%011o\0" % size + _MTIME
    return b"%b%06o\0 %b" % (start, sum(start) + _SUM_OF_REST, _TYPE_TO_END)


def members(buffer: memoryview | mmap.mmap) -> Iterator[Member]:
    """Yield all members of a tar in order. Raises TarError at the first fault, or if the end is missing."""
    view = memoryview(buffer)
    offset = 0
    while (member := member_at(view, offset)) is not None:
        yield member
        offset = member.offset + padded(member.size)
    check_end(view, offset)


def member_at(view: memoryview, offset: int) -> Member | None:
    """Return the member whose headers start at `offset`, or None at a zero block (the end). Raises TarError.

    Folders before the member are skipped.
    """
    at, extra = _skip_extra_headers(view, offset)
    block = _header_at(view, at)
    if block is None:
        return None
    if block[156:157] not in _FILES:
        raise TarError(f"byte {at}: expected a regular file, got type {block[156:157]!r}")
    name = extra.get("path") or _member_name(block, at)
    size = int(extra["size"]) if extra.get("size", "").isdecimal() else _parse_number(block[124:136], at, "size")
    member = Member(name.removeprefix("./"), at + BLOCK, size, offset)
    _check_inside(view, at, member.name, size)
    return member


def check_end(view: memoryview, offset: int) -> None:
    """Raise TarError unless the tar ends at `offset`: two zero blocks, then only zero padding."""
    if len(view) - offset > BLOCK and bytes(view[offset : offset + BLOCK]) != _ZEROS:
        offset = _skip_last_folders(view, offset)
    tail = len(view) - offset
    if tail < len(END):
        raise TarError(f"byte {offset}: expected the two zero blocks of the end, got {max(tail, 0)} bytes")
    if tail > _RECORD + BLOCK or bytes(view[offset:]).count(0) != tail:
        raise TarError(f"byte {offset}: data after the end of the tar; check that the file is not several tars")


def _skip_last_folders(view: memoryview, offset: int) -> int:
    """Return the offset after the folders that end a tar; the same offset if other data follow."""
    try:
        at, _ = _skip_extra_headers(view, offset)
        return at if _header_at(view, at) is None else offset
    except TarError:
        return offset


def _skip_extra_headers(view: memoryview, offset: int) -> tuple[int, dict[str, str]]:
    """Skip folders and extra headers; return the offset of the next file header, and path and size from them."""
    extra: dict[str, str] = {}
    while (block := _header_at(view, offset)) is not None and block[156:157] in (*_EXTRA_HEADERS, _FOLDER):
        kind, size = block[156:157], _parse_number(block[124:136], offset, "size")
        _check_inside(view, offset, "an extra header", size)
        data = bytes(view[offset + BLOCK : offset + BLOCK + size])
        if kind == _FOLDER:
            extra = {}
        elif kind == _GNU_NAME:
            extra["path"] = _decode_name(data.rstrip(b"\0"), offset)
        elif kind == _PAX:
            extra |= _parse_pax(data, offset)
        offset += BLOCK + padded(size)
    return offset, extra


def _parse_pax(data: bytes, offset: int) -> dict[str, str]:
    """Parse path and size from the records of a PAX header, each `<length> <key>=<value>\\n`."""
    found: dict[str, str] = {}
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise TarError(f"byte {offset}: invalid pax header: {data[:20]!r}")
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if key in (b"path", b"size"):
            found[key.decode()] = _decode_name(value, offset)
        data = data[int(length) :]
    return found


def _header_at(view: memoryview, offset: int) -> bytes | None:
    """Return the header at an offset after a check; None for a zero block."""
    block = bytes(view[offset : offset + BLOCK])
    if not block:
        raise TarError(f"byte {offset}: the tar ends without its two zero blocks; it is truncated or was not closed")
    if len(block) < BLOCK:
        raise TarError(f"byte {offset}: the tar is truncated {len(block)} bytes into a header; fetch or write it again")
    if block == _ZEROS:
        return None
    _check_header(block, offset)
    return block


def _check_inside(view: memoryview, offset: int, name: str, size: int) -> None:
    if offset + BLOCK + padded(size) > len(view):
        raise TarError(
            f"byte {offset}: the tar is truncated inside {name!r}, which has {size} bytes from byte "
            f"{offset + BLOCK} on; the tar ends at byte {len(view)}"
        )


def _check_header(block: bytes, offset: int) -> None:
    stated = _parse_octal(block[_SUM], offset, "checksum")
    found = sum(block) - sum(block[_SUM]) + _SUM_BLANK
    if stated != found:
        raise TarError(f"byte {offset}: header checksum: expected {stated}, got {found}; the header is damaged")
    if block[257:265] not in _MAGICS:
        raise TarError(f"byte {offset}: expected a USTAR or GNU header, got magic {block[257:265]!r}; use GNU tar")


def _parse_octal(field: bytes, offset: int, label: str) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise TarError(f"byte {offset}: header {label}: expected an octal number, got {field!r}")
    return int(digits, 8)


def _parse_number(field: bytes, offset: int, label: str) -> int:
    """Parse a number: octal digits, or GNU tar's binary form for large numbers (first bit set)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    return _parse_octal(field, offset, label)


def _member_name(block: bytes, offset: int) -> str:
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    is_ustar = block[257:265] == _MAGIC  # GNU tar keeps times where USTAR has the prefix
    return _decode_name(prefix + b"/" + name if prefix and is_ustar else name, offset)


def _decode_name(name: bytes, offset: int) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise TarError(f"byte {offset}: the member's name {name!r} is not UTF-8") from None
