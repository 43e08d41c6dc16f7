"""Find the sound of another clip of the same part, to test whether an answer depends on the sound."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from manifests.records import Media
from pipeline.media.media_store import MediaReader
from stages.tar_format import padded

HEADER = 512
SOUND_SUFFIX = ".wav"


def find_other_sound(read: MediaReader, sound: Media) -> Media | None:
    """Return the next sound in the tar of a sound, the first one after the last; None if there is no other.

    The tar holds the clips of a part in their order, so the choice does not depend on batches or workers.
    """
    after = _members(read, sound.uri, sound.offset + padded(sound.size))
    for name, media in (*after, *_members(read, sound.uri, 0)):
        if name.endswith(SOUND_SUFFIX):
            return None if media.offset == sound.offset else media
    return None


def _members(read: MediaReader, uri: str, offset: int) -> Iterator[tuple[str, Media]]:
    """Yield the names and references of the members of a tar, from the header at an offset."""
    while True:
        header = bytes(read(Media(uri=uri, offset=offset, size=HEADER)))
        if not header.strip(b"\0"):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        yield member.name, Media(uri=uri, offset=offset + HEADER, size=member.size)
        offset += HEADER + padded(member.size)
