"""List the members of a tar in order, from its headers alone; ustar, pax and GNU names.

Python's tarfile is not used, since it silently accepts a truncated tar and keeps all members in memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Protocol

from pipeline.sources.containers import tar_header
from pipeline.sources.containers.members import Member, Unreadable
from pipeline.sources.containers.tar_header import BLOCK, EMPTY, Header, padded
from pipeline.sources.file_signature import describe_bytes

LARGEST_HEADER = 1 << 20  # bytes of a pax header or a long name: more is damage
LINK = "inside the tar: not followed"
FAULTS = {
    tarfile.SYMTYPE: f"a symbolic link {LINK}",
    tarfile.LNKTYPE: f"a hard link {LINK}",
    tarfile.CHRTYPE: "a device, not a file",
    tarfile.BLKTYPE: "a device, not a file",
    tarfile.FIFOTYPE: "a pipe, not a file",
    tarfile.GNUTYPE_SPARSE: "a sparse file: pack the tar without --sparse",
}
NO_CONTENT = (*FAULTS.keys() - {tarfile.GNUTYPE_SPARSE}, tarfile.DIRTYPE)
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *PAX)


class Bytes(Protocol):
    """Interface of files with reads by offset."""

    def read_at(self, size: int, offset: int, /) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""


def tar_members(file: Bytes, size: int | None = None) -> Iterator[Member]:
    """Yield the members of the tar in order, without folders and hidden files. size: of the file, if known.

    If the tar is damaged, truncated, empty or no tar at all, the last item is a Member without a name, with the fault.
    """
    walk = _Walk(file, size)
    try:
        while (member := walk.next()) is not None:
            if not is_hidden(member.name):
                yield member
    except Unreadable as error:
        yield Member("", 0, fault=str(error))
    else:
        if walk.is_empty:
            yield Member("", 0, fault="an empty tar")


def is_hidden(name: str) -> bool:
    """Return whether the name of a member is hidden, as for files and folders on a disk."""
    return (name.startswith(".") and not name.startswith("../")) or "/." in name.replace("/../", "/")


class _Walk:
    """The position while the headers are read."""

    def __init__(self, file: Bytes, size: int | None) -> None:
        self.file, self.size, self.offset = file, size, 0
        self.common: dict[str, str] = {}  # what a pax header says of all members after it
        self.is_empty = True

    def next(self) -> Member | None:
        """Return the next member that is not a folder; None at the end mark."""
        own: dict[str, str] = {}  # what pax headers and long names say of the next member
        if self.size is not None and self.offset > self.size:
            return None  # the member before this one was cut off
        while (header := self._header()) is not None:
            start = self.offset + BLOCK
            if header.kind in EXTENSIONS:
                self._extend(header, own, start)
                self.offset = start + padded(header.size)
                continue
            size = 0 if header.kind in NO_CONTENT else _size(own, header)
            self.offset, self.is_empty = start + padded(size), False
            if header.kind != tarfile.DIRTYPE:
                return self._member(header, own.get("path") or self.common.get("path") or header.name, start, size)
            own = {}
        return None

    def _header(self) -> Header | None:
        block = self.file.read_at(BLOCK, self.offset)
        if not block:
            raise Unreadable("the tar ends without its end mark: cut off?" if self.offset else "an empty file")
        if block == EMPTY:
            return None
        try:
            if len(block) == BLOCK:
                return tar_header.parse(block)
        except Unreadable as error:
            if self.offset:
                raise Unreadable(f"the tar is damaged at byte {self.offset}: what follows cannot be found") from error
        if not self.offset:
            raise Unreadable(f"not a tar: {describe_bytes(block)}")
        raise Unreadable(f"the tar is cut off within the header at byte {self.offset}")

    def _extend(self, header: Header, own: dict[str, str], start: int) -> None:
        data = self.file.read_at(header.size, start) if header.size <= LARGEST_HEADER else b""
        if len(data) < header.size:
            raise Unreadable(f"the tar is cut off, or damaged, within the header at byte {self.offset}")
        if header.kind == tarfile.GNUTYPE_LONGNAME:
            own["path"] = tar_header.text(data.split(b"\0", 1)[0])
        elif header.kind == tarfile.XGLTYPE:
            self.common.update(tar_header.pax(data))
        elif header.kind in PAX:
            own.update(tar_header.pax(data))

    def _member(self, header: Header, name: str, start: int, size: int) -> Member:
        name = name.removeprefix("./")
        fault = FAULTS.get(header.kind, "") or name_fault(name)
        missing = 0 if self.size is None else start + size - self.size
        if missing > 0:
            fault = cut_off(size - missing, size)
        return Member(storable_name(name), size, f"{start}+{size}", start, fault)


def _size(own: dict[str, str], header: Header) -> int:
    size_text = own.get("size", "")
    return int(size_text) if size_text.isdigit() else header.size


def cut_off(present: int, size: int) -> str:
    """Return the fault of a member that is truncated."""
    return f"the tar is cut off within this member: {max(0, present)} of {size} bytes are there"


def name_fault(name: str) -> str:
    """Return why members with this name are not read; "" if they are."""
    if name.isascii() and ".." not in name and name[:1] != "/":
        return ""
    if name.startswith("/"):
        return "an absolute name inside the container: not read"
    if ".." in name.split("/"):
        return "a name that leads out of the container (..): not read"
    return "" if name == storable_name(name) else "the name is not UTF-8"


def storable_name(name: str) -> str:
    """Return a name as text; bytes that are not UTF-8 are escaped."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
