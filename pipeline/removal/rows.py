"""The rows, journals and drafts of steps, under all keys of a root, without what is about some videos.

A part's rows are replaced at once, and those of other videos stay as they are: nothing runs again for them.
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
from pipeline.removal.media import PartMedia, keeps_media, part_tars

STEP_FOLDER = re.compile(r"(\d\d)-(\w+)-([0-9a-f]+)")
PACK = "pack"
JOURNAL = re.compile(r"part-(\d{6,})\.journal(-notes)?")
DRAFT = re.compile(rf"part-(\d{{6,}})\.tar{re.escape(MARK)}.*")


@dataclass(frozen=True)
class RemovedIds:
    """Ids of the sources and videos that are taken out, and the parts that they are in."""

    sources: frozenset[str]
    videos: frozenset[str]
    parts: frozenset[int]

    def names(self, line: bytes) -> bool:
        """Tell whether a line of a journal is about one of them."""
        return any(name.encode() in line for name in self.sources | self.videos)


def manifests_at(root: str) -> list[Manifest]:
    """Return the manifests of all step folders of a root, also of old keys and of packs, the last step first.

    Their rows are read as tables; their record type means nothing.
    """
    found = (STEP_FOLDER.fullmatch(name) for name in storage.folders(root))
    made = [Manifest(root, int(match[1]), match[2], match[3], Video) for match in found if match]
    return sorted(made, key=lambda manifest: (-manifest.number, manifest.folder))


def step_manifests(root: str) -> list[Manifest]:
    """Return the manifests of all step folders of a root, but for packs, the last step first."""
    return [manifest for manifest in manifests_at(root) if manifest.name != PACK]


def remove_rows(manifest: Manifest, removed: RemovedIds) -> None:
    """Take what is removed out of a step's folder: out of journals, drafts, rows and tars.

    Raises Damaged or another OSError where rows or media cannot be read.
    """
    _strike_journals(manifest, removed)
    tars = part_tars(manifest)
    committed = sorted(removed.parts & manifest.committed().keys())
    remove_unread(manifest, committed)
    for _, parts in groupby(committed, key=lambda part: part // BLOCK):  # a block file is written once
        struck = {part: _struck(manifest, part, removed, tars) for part in parts}
        rewrite_parts(manifest, {part: table for part, table in struck.items() if table is not None})
    for part in removed.parts & tars.keys():
        PartMedia(manifest, part, tars[part]).remove_unreferenced()


def _struck(
    manifest: Manifest, part: int, removed: RemovedIds, tars: Mapping[int, list[storage.Entry]]
) -> pa.Table | None:
    """Return the rows that a part shall have; None where it has them."""
    table = manifest.read(part)
    kept = table.filter(pc.invert(is_about(table, removed.videos)))
    kept = with_dropped(kept, removed.sources)
    if keeps_media(kept.schema):
        kept = PartMedia(manifest, part, tars.get(part, [])).moved(kept)
    return None if kept.equals(table) else kept


def is_about(table: pa.Table, videos: Iterable[str]) -> pa.ChunkedArray:
    """Tell of each row whether its input is one of these videos, or made of one: its id begins with the video's."""
    heads = pc.utf8_slice_codeunits(table["input"], 0, ID_DIGITS)
    return pc.is_in(heads, pa.array(sorted(videos), pa.string()))


def with_dropped(table: pa.Table, sources: frozenset[str]) -> pa.Table:
    """Return the table with `dropped: removed` in the place of each row whose input is one of these sources."""
    if not pc.any(pc.is_in(table["input"], pa.array(sorted(sources), pa.string()))).as_py():
        return table
    rows = [_dropped(row) if row["input"] in sources else row for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


def _dropped(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(row) | {
        "input": row["input"],
        "status": DROPPED,
        "reason": REMOVED,
        "seconds": 0.0,
    }


def _strike_journals(manifest: Manifest, removed: RemovedIds) -> None:
    """Take lines out of the journals of parts under way. What was extracted of such a part is extracted again."""
    for entry in storage.listing(manifest.folder_uri):
        uri = storage.join(manifest.folder_uri, entry.path)
        if (match := DRAFT.fullmatch(entry.path)) and int(match[1]) in removed.parts:
            storage.remove(uri)
        if (match := JOURNAL.fullmatch(entry.path)) and int(match[1]) in removed.parts:
            lines = storage.read_bytes(uri).splitlines(keepends=True)
            media = manifest.path(int(match[1]), "").encode().rstrip(b".")  # how references to its tars begin
            kept = [line for line in lines if not (removed.names(line) or media in line)]
            if kept != lines:
                storage.write_bytes(uri, b"".join(kept))
    for part in removed.parts if not storage.is_local(manifest.root) else ():
        remove_local_journals(manifest, part)
