"""Files of committed parts that cannot be read. The part is set aside; a damaged file gets another name.

Under its new name the file is not counted as committed any more, so that views, status and pack see whole files only,
and the next run makes it again. What registration wrote is kept as it is: no step can make it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage, views
from manifests.ledger import Manifest
from pipeline.errors import SetAside
from pipeline.plan import Plan, Planned

DAMAGED = ".damaged"  # added to the name of a file that is no whole Parquet file
UNREADABLE = (OSError, pa.ArrowException)


def read_inputs(planned: Planned, part: int) -> list[Any]:
    """The inputs of a step for one part. Raises SetAside if a file that they are in cannot be read."""
    try:
        return planned.inputs(part)
    except UNREADABLE as error:
        found = [reason for manifest in planned.reads.values() if (reason := put_away(manifest, part))]
        raise SetAside(part, planned.step.name, found[0] if found else _first_line(error)) from error


def write_views(plan: Plan, shards: Mapping[str, str]) -> list[SetAside]:
    """Write the views of a run, as `views.write` does; return the parts whose damaged files stood in the way."""
    try:
        views.write(plan.root, plan.manifests, shards)
        return []
    except duckdb.Error:  # opening a view reads all footers
        aside = [found for planned in plan.steps for found in _put_away_all(planned.manifest)]
        views.write(plan.root, plan.manifests, shards)
        return aside


def _put_away_all(manifest: Manifest) -> list[SetAside]:
    parts = sorted(manifest.committed())
    with ThreadPoolExecutor(8) as pool:
        reasons = pool.map(lambda part: None if _has_footer(manifest, part) else put_away(manifest, part), parts)
        return [SetAside(part, manifest.name, reason) for part, reason in zip(parts, reasons, strict=True) if reason]


def _has_footer(manifest: Manifest, part: int) -> bool:
    try:
        manifest.counts(part)
    except UNREADABLE:
        return False
    return True


def put_away(manifest: Manifest, part: int) -> str | None:
    """Why the file of a committed part cannot be read, or None if it can; a damaged one is renamed."""
    path, uri = manifest.path(part), manifest.uri(part)
    try:
        data = storage.read_bytes(uri)
    except OSError as error:
        return f"{path} cannot be read: {_first_line(error)}"
    try:
        pq.read_table(pa.BufferReader(data))
    except UNREADABLE as error:
        said = f"{path} is damaged ({_first_line(error)})"
        if not manifest.key:
            return f"{said}, and only a copy can replace it"
        storage.write_bytes(uri + DAMAGED, data)
        storage.remove(uri)
        return f"{said}: it is {path}{DAMAGED} now, and the next run makes the part again"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
