"""Remove some videos from the rows, journals and drafts of steps, under all keys of a root.

A part's rows are replaced at once, and rows of other videos stay as they are: nothing runs again for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.blocks import BLOCK
from manifests.ledger import DROPPED, Manifest
from manifests.records import ID_DIGITS, REMOVED, Video
from manifests.rewriting import remove_unread, rewrite_parts
from pipeline.engine.part_journals import remove_local_journals
from pipeline.media.media_draft import MARK
from pipeline.removal.media import PartMedia, has_media, part_tars

STEP_FOLDER = re.compile(r"(\d\d)-(\w+)-([0-9a-f]+)")
PACK = "pack"
JOURNAL = re.compile(r"part-(\d{6,})\.journal(-notes)?")
DRAFT = re.compile(rf"part-(\d{{6,}})\.tar{re.escape(MARK)}.*")


@dataclass(frozen=True)
class RemovedIds:
    """Ids of the sources and videos to remove, and the parts that contain them."""

    sources: frozenset[str]
    videos: frozenset[str]
    parts: frozenset[int]

    def is_named_in(self, line: bytes) -> bool:
        """Return whether a line of a journal contains one of the ids."""
        return any(name.encode() in line for name in self.sources | self.videos)


def manifests_at(root: str) -> list[Manifest]:
    """Return the manifests of all step folders of a root, also of old keys and of packs, the last step first.

    Their rows are read as tables; the record type `Video` is only a placeholder.
    """
    found = (STEP_FOLDER.fullmatch(name) for name in storage.folders(root))
    manifests = [Manifest(root, int(match[1]), match[2], match[3], Video) for match in found if match]
    return sorted(manifests, key=lambda manifest: (-manifest.number, manifest.folder))


def step_manifests(root: str) -> list[Manifest]:
    """Return the manifests of all step folders of a root except for packs, the last step first."""
    return [manifest for manifest in manifests_at(root) if manifest.name != PACK]


def remove_rows(manifest: Manifest, removed: RemovedIds) -> None:
    """Remove the videos from a step's folder: from journals, drafts, rows and tars.

    Raises Damaged or another OSError where rows or media cannot be read.
    """
    _clean_journals(manifest, removed)
    tars = part_tars(manifest)
    committed = sorted(removed.parts & manifest.committed().keys())
    remove_unread(manifest, committed)
    for _, parts in groupby(committed, key=lambda part: part // BLOCK):  # a block file is written once
        tables = {part: _rows_without(manifest, part, removed, tars) for part in parts}
        rewrite_parts(manifest, {part: table for part, table in tables.items() if table is not None})
    for part in removed.parts & tars.keys():
        PartMedia(manifest, part, tars[part]).remove_unreferenced()


def _rows_without(
    manifest: Manifest, part: int, removed: RemovedIds, tars: Mapping[int, list[storage.Entry]]
) -> pa.Table | None:
    """Return the new rows of a part; None where nothing changes."""
    table = manifest.read(part)
    kept = table.filter(pc.invert(mask_of_videos(table, removed.videos)))
    kept = drop_rows_of(kept, removed.sources)
    if has_media(kept.schema):
        kept = PartMedia(manifest, part, tars.get(part, [])).move_media(kept)
    return None if kept.equals(table) else kept


def mask_of_videos(table: pa.Table, videos: Iterable[str]) -> pa.ChunkedArray:
    """Return for each row whether its input is one of these videos or made from one, by the beginning of its id."""
    heads = pc.utf8_slice_codeunits(table["input"], 0, ID_DIGITS)
    return pc.is_in(heads, pa.array(sorted(videos), pa.string()))


def drop_rows_of(table: pa.Table, sources: frozenset[str]) -> pa.Table:
    """Return the table with `dropped: removed` in the place of each row whose input is one of these sources."""
    if not pc.any(pc.is_in(table["input"], pa.array(sorted(sources), pa.string()))).as_py():
        return table
    rows = [_dropped_row(row) if row["input"] in sources else row for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


def _dropped_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(row) | {
        "input": row["input"],
        "status": DROPPED,
        "reason": REMOVED,
        "seconds": 0.0,
    }


def _clean_journals(manifest: Manifest, removed: RemovedIds) -> None:
    """Remove lines from the journals of open parts. Such parts extract their media again."""
    for entry in storage.listing(manifest.folder_uri):
        uri = storage.join(manifest.folder_uri, entry.path)
        if (match := DRAFT.fullmatch(entry.path)) and int(match[1]) in removed.parts:
            storage.remove(uri)
        if (match := JOURNAL.fullmatch(entry.path)) and int(match[1]) in removed.parts:
            lines = storage.read_bytes(uri).splitlines(keepends=True)
            media = manifest.path(int(match[1]), "").encode().rstrip(b".")  # how references to its tars begin
            kept = [line for line in lines if not (removed.is_named_in(line) or media in line)]
            if kept != lines:
                storage.write_bytes(uri, b"".join(kept))
    for part in removed.parts if not storage.is_local(manifest.root) else ():
        remove_local_journals(manifest, part)
