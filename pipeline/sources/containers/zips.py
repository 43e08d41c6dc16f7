"""Read members of zip files, found by the directory at the end; stored or deflated."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from pipeline.errors import BadMedia
from pipeline.sources.containers.members import Member
from pipeline.sources.containers.tar_index import Bytes, is_hidden, name_fault, storable_name

LOCAL = 30  # bytes of a local header before the name
CHUNK = 1 << 20  # bytes of one read
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
ENCRYPTED = 1  # of the flags


def zip_members(file: Any) -> Iterator[Member]:
    """Yield members in the order of their bytes, without folders and hidden files. file: seekable, with `size()`.

    For a file that is not a zip, the only item is a Member without a name, with the fault.
    """
    try:
        found = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, ValueError) as error:
        yield Member("", 0, fault=f"not a zip file, or one that is cut off: {error}")
        return
    if not found:
        yield Member("", 0, fault="an empty zip file")
    for info in sorted(found, key=lambda info: info.header_offset):
        name = info.filename.removeprefix("./")
        if not (info.is_dir() or is_hidden(name) or name.startswith("__MACOSX/")):
            yield _member(info, name, file.size())


def _member(info: zipfile.ZipInfo, name: str, size: int) -> Member:
    place = f"{info.header_offset}+{info.compress_size}+{info.CRC}+{info.compress_type}"
    return Member(storable_name(name), info.file_size, place, fault=_fault(info, size) or name_fault(name))


def _fault(info: zipfile.ZipInfo, size: int) -> str:
    if info.flag_bits & ENCRYPTED:
        return "encrypted"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a symbolic link inside the zip file: not followed"
    if info.compress_type not in METHODS:
        return f"compressed in a way that is not read (method {info.compress_type}): use stored or deflated"
    if info.header_offset + LOCAL + info.compress_size > size:
        return "the zip file is cut off within this member"
    return ""


def zip_pieces(file: Bytes, place: str) -> Iterator[bytes]:
    """Yield the bytes of a member. Raises BadMedia for damaged bytes, OSError if the member is gone."""
    start, left, checksum, method = map(int, place.split("+"))
    head = bytes(file.read_at(LOCAL, start))
    if head[:4] != b"PK\x03\x04":
        raise OSError(f"there is no member at byte {start} of the zip file any more: it was replaced")
    start += LOCAL + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if method == zipfile.ZIP_DEFLATED else None
    found = 0
    for piece in _unpacked(_stored(file, start, left), inflate):
        found = zlib.crc32(piece, found)
        yield piece
    if found != checksum:
        raise BadMedia("damaged in its zip file: its checksum is another one")


def _stored(file: Bytes, start: int, left: int) -> Iterator[bytes]:
    while left:
        data = bytes(file.read_at(min(CHUNK, left), start))
        if not data:
            raise OSError(f"{left} bytes of the zip file are missing at byte {start}")
        start, left = start + len(data), left - len(data)
        yield data


def _unpacked(pieces: Iterator[bytes], inflate: Any) -> Iterator[bytes]:
    """Decompress in pieces of CHUNK bytes, so that a large member is never in memory as a whole."""
    if inflate is None:
        yield from pieces
        return
    try:
        for piece in pieces:
            yield inflate.decompress(piece, CHUNK)
            while inflate.unconsumed_tail:
                yield inflate.decompress(inflate.unconsumed_tail, CHUNK)
        yield inflate.flush()
    except zlib.error as error:
        raise BadMedia(f"damaged in its zip file: {error}") from error
