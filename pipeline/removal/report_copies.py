"""Delete what a report in the root, and the reviews of people, hold about removed videos."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.ledger import parquet_bytes, read_parquet
from manifests.review_view import REVIEWS
from pipeline.removal.sets import delete_folder

REPORT = "report"  # folder of the root


def delete_report_copies(root: str, ids: Collection[str]) -> None:
    """Delete the report, which shows frames and words of many videos, and the reviews of these records.

    ids: of videos and of sources. Ids of clips and questions begin with that of their video.
    """
    delete_folder(storage.join(root, REPORT))
    folder = storage.join(root, REVIEWS)
    for entry in storage.listing(folder):
        uri = storage.join(folder, entry.path)
        rows = read_parquet(uri)
        owners = pc.utf8_slice_codeunits(rows["id"], 0, 20)
        kept = rows.filter(pc.invert(pc.is_in(owners, value_set=pa.array(sorted(ids), pa.string()))))
        if len(kept) < len(rows):
            storage.write_bytes(uri, parquet_bytes(kept))
