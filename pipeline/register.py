"""From sources to parts: sources seen before keep their part, new ones form new parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from manifests import storage
from manifests.ledger import Manifest, parquet_bytes
from manifests.records import Source
from manifests.schema import records_table

LARGEST_PART = 32  # videos: a part is what one worker loses when it is killed
FEWEST_PARTS = 64  # of a large input, so that a few workers stay busy until the end


def register(manifest: Manifest, sources: Sequence[Source], limit: int | None, per_part: int | None) -> list[int]:
    """Write parts for the sources not seen before; returns the numbers of all parts.

    limit: of sources in the whole run; per_part: videos of a part (default: 1 to 32, by how many are new).
    """
    parts = manifest.committed()
    tables = [manifest.read(part) for part in sorted(parts)]
    known = {name for table in tables for name in table["id"].to_pylist()}
    sizes: dict[int, list[str]] = defaultdict(list)
    for table in tables:
        for row in table.select(["uri", "bytes", "fault"]).to_pylist():
            if row["fault"] is None:
                sizes[row["bytes"]].append(row["uri"])
    new = [source for source in sources if source.id not in known]
    new = new[: max(0, limit - len(known))] if limit is not None else new
    rivals = _rivals(new, sizes)
    size = per_part or min(LARGEST_PART, -(-len(new) // FEWEST_PARTS) or 1)
    for start in range(0, len(new), size):
        part = max(parts, default=-1) + 1
        members = [replace(source, rivals=rivals[source.id]) for source in new[start : start + size]]
        parts[part] = _write_part(manifest, part, members)
    return sorted(parts)


def _rivals(new: Sequence[Source], sizes: dict[int, list[str]]) -> dict[str, tuple[str, ...]]:
    """For each new source those it may be an exact copy of: of equal size, and before it.

    Sources of earlier parts come first, then those with subtitles, since of two copies the first one stays.
    """
    rivals: dict[str, tuple[str, ...]] = {source.id: () for source in new}
    for source in sorted(new, key=lambda source: (not source.sidecars, source.uri)):
        if source.fault is None and source.bytes:
            rivals[source.id] = tuple(sizes[source.bytes])
            sizes[source.bytes].append(source.uri)
    return rivals


def _write_part(manifest: Manifest, part: int, members: Sequence[Source]) -> int:
    data = parquet_bytes(records_table(Source, members))
    storage.write_bytes(manifest.uri(part), data)
    return len(data)
