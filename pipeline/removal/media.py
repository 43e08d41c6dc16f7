"""Rewrite the tar of a part without the media that no row refers to; other members stay byte for byte."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import storage
from manifests.ledger import Manifest
from manifests.records import Media
from manifests.schema import arrow_type
from pipeline.media.media_store import MediaTar
from stages.tar_format import BLOCK, END, member_at, padded

TAR = re.compile(r"part-(\d{6,})(-[0-9a-f]+)?\.tar")
MEDIA = arrow_type(Media)
Reference = dict[str, Any]  # a Media in a row


def part_tars(manifest: Manifest) -> dict[int, list[storage.Entry]]:
    """Return the tars in a step's folder by part: the tar that its rows refer to, and tars of killed attempts."""
    found: dict[int, list[storage.Entry]] = defaultdict(list)
    for entry in storage.listing(manifest.folder_uri):
        if match := TAR.fullmatch(entry.path):
            found[int(match[1])].append(entry)
    return found


def has_media(schema: pa.Schema) -> bool:
    """Return whether rows of this schema refer to media."""
    return any(field.type == MEDIA for field in schema)


def find_references(rows: Sequence[Mapping[str, Any]]) -> Iterator[Reference]:
    """Yield the references in rows, in their order."""
    for row in rows:
        yield from (
            value for value in row.values() if isinstance(value, dict) and value.keys() == {"uri", "offset", "size"}
        )


@dataclass(frozen=True)
class PartMedia:
    """The tars of one part of a step."""

    manifest: Manifest
    part: int
    tars: Sequence[storage.Entry]

    def move_media(self, table: pa.Table) -> pa.Table:
        """Copy the media of these rows to their own tar, unless it exists; return the rows with the new references.

        Raises OSError if media are missing.
        """
        rows = table.to_pylist()
        found = list(find_references(rows))
        if not found or self._fits(found):
            return table
        uri = self.manifest.path(self.part, "tar")
        tar = MediaTar(uri, storage.draft_path(self.manifest.uri(self.part, "tar")))
        try:
            self._copy(found, tar)
            place = tar.place(self.manifest.root)
        finally:
            Path(tar.path).unlink(missing_ok=True)
        for reference in found:
            reference["uri"] = place
        return pa.Table.from_pylist(rows, schema=table.schema).replace_schema_metadata(table.schema.metadata)

    def _fits(self, found: Sequence[Reference]) -> bool:
        """Return whether each tar that is referred to has nothing but these media."""
        sizes: dict[str, int] = defaultdict(lambda: len(END))
        for reference in found:
            sizes[reference["uri"]] += BLOCK + padded(reference["size"])
        existing = {f"{self.manifest.folder}/{entry.path}": entry.size for entry in self.tars}
        return all(existing.get(uri) == size for uri, size in sizes.items())

    def _copy(self, found: Sequence[Reference], tar: MediaTar) -> None:
        """Copy the members of references into another tar, and update the references' offsets."""
        opened: dict[str, Any] = {}
        for reference in found:
            uri = storage.join(self.manifest.root, reference["uri"])
            file = opened.get(uri) or opened.setdefault(uri, storage.open_random(uri))
            name, data = read_member(file, reference)
            media = tar.add(name, data)
            reference.update(offset=media.offset)

    def unreferenced(self) -> list[storage.Entry]:
        """Return the part's tars that no committed row refers to; without committed rows, all tars."""
        kept: set[str] = set()
        with suppress(FileNotFoundError):
            kept = {reference["uri"] for reference in find_references(self.manifest.read(self.part).to_pylist())}
        tars = part_tars(self.manifest).get(self.part, [])
        return [entry for entry in tars if f"{self.manifest.folder}/{entry.path}" not in kept]

    def remove_unreferenced(self) -> None:
        """Delete the tars that `unreferenced` returns."""
        for entry in self.unreferenced():
            storage.remove(storage.join(self.manifest.folder_uri, entry.path))


def read_member(file: Any, reference: Reference) -> tuple[str, bytes]:
    """Return the name and the bytes of a reference's member. Raises OSError where it is missing."""
    start, size = reference["offset"] - BLOCK, BLOCK + padded(reference["size"])
    data = bytes(file.read_at(size, start))
    try:
        member = member_at(memoryview(data), 0)
    except ValueError as error:
        raise OSError(f"{reference['uri']}: {error}") from error
    if member is None or member.size != reference["size"]:
        raise OSError(f"{reference['uri']}: no member of {reference['size']} bytes begins at {reference['offset']}")
    return member.name, data[BLOCK : BLOCK + member.size]
