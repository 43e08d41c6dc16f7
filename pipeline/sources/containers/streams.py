"""Read members of compressed tars, which can only be read from the beginning: once per part of sources.

Only the requested members are kept in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.sources.containers.grouping import MemberSource, sources
from pipeline.sources.containers.members import Member, Unreadable
from pipeline.sources.containers.readers import ForwardStream, stream
from pipeline.sources.containers.tar_index import cut_off, tar_members

CHUNK = 1 << 20  # bytes of one read


@dataclass
class _Reading:
    """One pass over a compressed tar, for its index."""

    file: ForwardStream
    is_cut: bool = False

    def content(self, member: Member) -> bytes:
        """Read the member whose header was read last. Raises Unreadable."""
        return b"".join(self._pieces(member))

    def sha256(self, member: Member) -> str:
        """Return the digest of the member whose header was read last. Raises Unreadable."""
        found = hashlib.sha256()
        for piece in self._pieces(member):
            found.update(piece)
        return found.hexdigest()

    def _pieces(self, member: Member) -> Iterator[bytes]:
        done = 0
        while done < member.size:
            data = self.file.read_at(min(CHUNK, member.size - done), member.offset + done)
            if not data:
                self.is_cut = True
                raise Unreadable(cut_off(done, member.size))
            done += len(data)
            yield data


def stream_rows(uri: str) -> Iterator[MemberSource]:
    """Yield the sources of a compressed tar with their digests, since all bytes are read anyway. Raises OSError."""
    reading = _Reading(stream(uri))
    for row in sources(tar_members(reading.file), reading.content, reading.sha256):
        if row.name or not reading.is_cut:  # the member that is cut off has a row
            yield row
