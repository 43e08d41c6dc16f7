"""Read members of a tar or zip by name, for imported records that refer to them."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.sources.containers.access import header_start, tar_pieces
from pipeline.sources.containers.members import STREAMS, ZIPS, Member, Unreadable
from pipeline.sources.containers.readers import ReadAheadFile, open_container, stream, stream_before
from pipeline.sources.containers.tar_index import tar_members
from pipeline.sources.containers.zips import zip_members, zip_pieces

AHEAD = 1 << 18  # bytes of a request: pictures and their headers are small, and mostly asked for in their order


class Archive:
    """A tar, compressed or not, or a zip file. Its headers are read once."""

    def __init__(self, uri: str, size: int) -> None:
        """Read the headers. size: of the file. Raises OSError."""
        self.uri = uri
        self.file = None if uri.lower().endswith(STREAMS) else open_container(uri)
        self.members: dict[str, Member] = {}
        self.fault = ""  # why not all of it could be read
        for member in self._found(size):
            self.members.setdefault(member.name, member)
        self.fault = self.members.pop("").fault if "" in self.members else ""

    def _found(self, size: int) -> Iterable[Member]:
        if self.file is None:
            return tar_members(stream(self.uri))
        if self.uri.lower().endswith(ZIPS):
            return zip_members(self.file)
        self.file = ReadAheadFile(self.file, AHEAD)
        return tar_members(self.file, size)

    def read(self, name: str) -> bytes:
        """Return the bytes of a member.

        Raises KeyError if no member has this name, Unreadable if the member is damaged or may lie after damage. Raises
        OSError and BadMedia as `access.pieces`.
        """
        member = self.members.get(name.removeprefix("./"))
        if member is None and not self.fault:
            raise KeyError(name)
        if fault := self.fault if member is None else member.fault:
            raise Unreadable(fault)
        assert member is not None
        if self.file is not None and self.uri.lower().endswith(ZIPS):
            return b"".join(zip_pieces(self.file, member.place))
        file = self.file or stream_before(self.uri, "", header_start(member.place))
        return b"".join(tar_pieces(self.uri, file, member.place))
