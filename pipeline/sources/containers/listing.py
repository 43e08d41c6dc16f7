"""List the sources in one container."""

from __future__ import annotations

from collections.abc import Iterator

from manifests import storage
from pipeline.sources.containers import tables
from pipeline.sources.containers.grouping import MemberSource, sources
from pipeline.sources.containers.index_files import dali_members, energon_offsets, read_indexes
from pipeline.sources.containers.members import STREAMS, TABLES, ZIPS
from pipeline.sources.containers.readers import PrefetchedFile, ReadAheadFile, open_container
from pipeline.sources.containers.streams import stream_rows
from pipeline.sources.containers.tar_index import Bytes, tar_members
from pipeline.sources.containers.zips import zip_members, zip_pieces


def rows(uri: str, size: int, column: str) -> Iterator[MemberSource]:
    """Yield the sources of a container; if it cannot be read to the end, also a row with the reason. Raises OSError."""
    if uri.lower().endswith(TABLES):
        return tables.rows(uri, column)
    if uri.lower().endswith(STREAMS):
        return stream_rows(uri)
    return _of_zip(uri) if uri.lower().endswith(ZIPS) else _of_tar(uri, size)


def _of_zip(uri: str) -> Iterator[MemberSource]:
    with open_container(uri) as file:
        yield from sources(zip_members(file), lambda member: b"".join(zip_pieces(file, member.place)))


def _of_tar(uri: str, size: int) -> Iterator[MemberSource]:
    with open_container(uri) as file:
        ahead: Bytes = ReadAheadFile(file)
        members = None
        for index in read_indexes(uri):
            members = members or dali_members(index, ahead, size)
            if not storage.is_local(uri) and (starts := energon_offsets(index, ahead, size)):
                ahead = PrefetchedFile(file, starts, size)
        yield from sources(
            members or tar_members(ahead, size), lambda member: ahead.read_at(member.size, member.offset)
        )
