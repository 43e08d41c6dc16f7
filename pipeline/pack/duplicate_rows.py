"""The rows of `duplicates/clips.parquet` that pack needs: those of some parts, and their digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.duplicate_records import DuplicateClip
from manifests.parquet_files import read_undamaged
from manifests.schema import record_schema
from pipeline.duplicates.grouping import CLIPS, has_fingerprints
from pipeline.plan import Plan


def read_duplicates(plan: Plan) -> pa.Table:
    """Read the groups of a run's clips; empty if the run makes no fingerprints or has not compared them yet."""
    uri = storage.join(plan.root, CLIPS)
    if not has_fingerprints(plan) or not storage.exists(uri):
        return record_schema(DuplicateClip).empty_table()
    return read_undamaged(uri).replace_schema_metadata(None)


def of_parts(rows: pa.Table, parts: Iterable[int]) -> pa.Table:
    """Return the rows of some parts."""
    return rows.filter(pc.is_in(rows["part"], pa.array(list(parts), pa.int64())))


def facts_by_part(rows: pa.Table) -> Mapping[int, list[Any]]:
    """Return the values of each part's rows."""
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows.to_pylist():
        found[row["part"]].append(list(row.values()))
    return found
