"""A shard set is whole when its `shards.parquet` is there; what a run's current sets are is said in one file.

<root>/shards/<stage>/<key>/{train,val}-000000.tar, .tar.idx, .nv-meta/, shards.parquet
<root>/shards/current.json                      {"key": ..., "folders": {stage: folder below the root}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

import pyarrow as pa

from manifests import storage
from manifests.ledger import Counts, Manifest, parquet_bytes, read_parquet
from manifests.records import PackedTask
from manifests.schema import from_rows, record_schema
from pipeline.pack.build import PLAN, ShardLane, rows_uri
from pipeline.pack.choose import Selection, select
from pipeline.pack.settings import PackSettings
from pipeline.pack.writer import energon_meta
from pipeline.plan import Plan

CURRENT = "shards/current.json"
ROWS = "shards.parquet"
Write = Callable[[Callable[[], ShardLane], int], None]  # makes lanes and brings 0..n-1 through them, on some engine


def current(root: str) -> dict[str, str]:
    """Folders below `root` of the last whole shard sets, by stage; none before the first."""
    uri = storage.join(root, CURRENT)
    if not storage.exists(uri):
        return {}
    folders: dict[str, str] = json.loads(storage.read_bytes(uri))["folders"]
    return folders


def rows_of(folder: str) -> list[PackedTask]:
    """The rows of a whole shard set. Raises OSError, ValueError or KeyError where they cannot be read."""
    return from_rows(PackedTask, read_parquet(storage.join(folder, ROWS)).to_pylist())


def manifest_of(plan: Plan, key: str) -> Manifest:
    """The manifest of pack: one part with a row per task in the shards, or per clip that is in none."""
    return Manifest(plan.root, len(plan.steps) + 1, "pack", key, PackedTask)


def current_manifest(plan: Plan) -> Manifest | None:
    """The manifest of the last whole pack, if there is one."""
    uri = storage.join(plan.root, CURRENT)
    return manifest_of(plan, json.loads(storage.read_bytes(uri))["key"]) if storage.exists(uri) else None


def pack(plan: Plan, settings: PackSettings, write: Write) -> Counts:
    """Bring the shard sets up to date with the manifests; nothing is written where they are."""
    selection = select(plan, settings)
    manifest = manifest_of(plan, selection.key)
    folders = {stage: f"shards/{stage}/{selection.key}" for stage, _ in selection.shards}
    if not manifest.has(0):
        _write_all(plan, selection, folders, write)
        rows = _collect(plan.root, selection, folders)
        by_clip: dict[str, tuple[object, ...]] = {}
        for row in rows:
            by_clip[row.clip] = (*by_clip.get(row.clip, ()), row)
        manifest.commit(0, list(selection.reasons), selection.outcomes(by_clip))
    for stage, folder in folders.items():
        _tidy(plan.root, folder, [shard for of, shard in selection.shards if of == stage])
    facts = json.dumps({"key": selection.key, "folders": folders}, indent=2).encode()
    if _stored(storage.join(plan.root, CURRENT)) != facts:
        storage.write_bytes(storage.join(plan.root, CURRENT), facts)
    return manifest.total()


def _stored(uri: str) -> bytes | None:
    return storage.read_bytes(uri) if storage.exists(uri) else None


def _write_all(plan: Plan, selection: Selection, folders: Mapping[str, str], write: Write) -> None:
    for stage, folder in folders.items():
        of_stage = selection.chosen.filter(pa.compute.equal(selection.chosen["stage"], stage))
        storage.write_bytes(storage.join(plan.root, folder, PLAN), parquet_bytes(of_stage))
    full = {stage: storage.join(plan.root, folder) for stage, folder in folders.items()}
    write(partial(ShardLane, plan.root, full, selection.shards, plan.key), len(selection.shards))


def _collect(root: str, selection: Selection, folders: Mapping[str, str]) -> list[PackedTask]:
    """Complete every set: `.nv-meta`, then `shards.parquet` as its last file."""
    rows: list[PackedTask] = []
    for stage, folder in folders.items():
        uris = [rows_uri(storage.join(root, folder), shard) for of, shard in selection.shards if of == stage]
        table = pa.concat_tables(read_parquet(uri) for uri in uris).cast(record_schema(PackedTask))
        for path, data in energon_meta(*_energon_facts(table)).items():
            storage.write_bytes(storage.join(root, folder, path), data)
        storage.write_bytes(storage.join(root, folder, ROWS), parquet_bytes(table))
        rows += from_rows(PackedTask, table.to_pylist())
    return rows


def _energon_facts(table: pa.Table) -> tuple[dict[str, int], list[str], list[str]]:
    counts = table.group_by(["shard", "split"]).aggregate([("key", "count_distinct")]).to_pylist()
    counts.sort(key=lambda row: str(row["shard"]))
    samples = {row["shard"]: row["key_count_distinct"] for row in counts}
    train, val = ([row["shard"] for row in counts if row["split"] == split] for split in ("train", "val"))
    return samples, train, val


def _tidy(root: str, folder: str, shards: list[str]) -> None:
    """Delete what only served to write the set."""
    if storage.exists(storage.join(root, folder, PLAN)):
        for shard in shards:
            storage.remove(rows_uri(storage.join(root, folder), shard))
        storage.remove(storage.join(root, folder, PLAN))
