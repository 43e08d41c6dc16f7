"""A shard set is whole when its `shards.parquet` is there; what a run's current sets are is said in one file.

<root>/shards/<stage>/<key>/{train,val}-000000.tar, .tar.idx, .nv-meta/, shards.parquet
<root>/shards/current.json                      {"key": ..., "folders": {name: folder below the root}}
<root>/packed.json                              what the last pack was made from: a run with nothing to do reads no rows
<root>/shards/packing.json                      the folders that are being written now, for who trains meanwhile

The name of a set that the run packed is its stage; that of an imported one begins so: `omni_<key>`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

import pyarrow as pa

from manifests import storage
from manifests.ledger import Damaged, Manifest, digest, parquet_bytes, read_parquet
from manifests.records import PackedTask
from manifests.schema import from_rows, record_schema
from pipeline.keys import load, remember_pack
from pipeline.pack.build import ShardLane, rows_uri
from pipeline.pack.choose import Selection, facts_of, select
from pipeline.pack.settings import PackSettings
from pipeline.pack.writer import energon_meta
from pipeline.plan import Plan
from stages.catalogue import CURRENT, PACKING, PLAN, ROWS, current
from stages.samples import FAMILIES

PACKED = "packed.json"  # below the root: of the last whole pack: its key, and what it was packed from
Write = Callable[[Callable[[], ShardLane], int], object]  # makes lanes and brings 0..n-1 through them, on some engine


def stage_of(name: str) -> str:
    """The alignment stage of the set that is called so."""
    return name.partition("_")[0]


def own(root: str) -> dict[str, str]:
    """The sets that the run at `root` packed itself."""
    return {name: folder for name, folder in current(root).items() if name in FAMILIES}


def announce(root: str, folders: Mapping[str, str | None], key: str | None = None) -> None:
    """Say what the current sets are: those of `folders` are added or, if None, taken out; all others stay.

    key: of the run's own sets, which then are those of `folders` alone.
    """
    uri = storage.join(root, CURRENT)
    stored = storage.read_bytes(uri) if storage.exists(uri) else b'{"key": "", "folders": {}}'
    before = json.loads(stored)
    kept = {name: path for name, path in before["folders"].items() if key is None or name not in FAMILIES}
    named = {name: path for name, path in {**kept, **folders}.items() if path is not None}
    ordered = {name: named[name] for name in sorted(named, key=lambda name: (name not in FAMILIES, name))}
    facts = json.dumps({"key": before["key"] if key is None else key, "folders": ordered}, indent=2).encode()
    if stored != facts:
        storage.write_bytes(uri, facts)


def rows_of(folder: str) -> list[PackedTask]:
    """The rows of a whole shard set. Raises OSError, ValueError or KeyError where they cannot be read."""
    return from_rows(PackedTask, read_parquet(storage.join(folder, ROWS)).to_pylist())


def manifest_of(plan: Plan, key: str) -> Manifest:
    """The manifest of pack: one part with a row per task in the shards, or per clip that is in none."""
    return Manifest(plan.root, len(plan.steps) + 1, "pack", key, PackedTask)


def current_manifest(plan: Plan) -> Manifest | None:
    """The manifest of the last whole pack, if there is one."""
    uri = storage.join(plan.root, CURRENT)
    key = json.loads(storage.read_bytes(uri))["key"] if storage.exists(uri) else ""
    return manifest_of(plan, key) if key else None  # what was imported has none


def pack(plan: Plan, settings: PackSettings, write: Write) -> tuple[Damaged, ...]:
    """Bring the shard sets up to date with the manifests; nothing is written where they are.

    Where the part files are those of the last pack, no row is read. Returns what is wrong with the parts that could not
    be read: the shards are without them.
    """
    identity = _identity(plan, settings)
    if _last_packed(plan) == identity:
        return ()
    selection = select(plan, settings)
    manifest = manifest_of(plan, selection.key)
    remember_pack(plan.root, manifest.folder, selection.facts)
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
    announce(plan.root, folders, selection.key)
    storage.remove(storage.join(plan.root, PACKING))
    if not selection.damaged:  # what is damaged is named by every run
        facts = json.dumps({"key": selection.key, "identity": identity}).encode()
        storage.write_bytes(storage.join(plan.root, PACKED), facts)
    return selection.damaged


def _identity(plan: Plan, settings: PackSettings) -> str:
    """A digest of all that a pack follows from: its settings, and name, size and stamp of the part files it reads."""
    folders = [storage.listing(storage.join(plan.root, manifest.folder)) for manifest in plan.manifests]
    files = [[(entry.path, entry.size, entry.stamp) for entry in entries] for entries in folders]
    return digest({**facts_of(plan, settings), "files": files}, digits=64)


def _last_packed(plan: Plan) -> str | None:
    """The identity of the last pack, if its sets are whole and the current ones."""
    try:
        facts = json.loads(storage.read_bytes(storage.join(plan.root, PACKED)))
        packed = current_manifest(plan)
        if packed is None or packed.key != facts["key"] or packed.folder not in load(plan.root).facts:
            return None
        return str(facts["identity"]) if packed.has(0) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write_all(plan: Plan, selection: Selection, folders: Mapping[str, str], write: Write) -> None:
    for stage, folder in folders.items():
        of_stage = selection.chosen.filter(pa.compute.equal(selection.chosen["stage"], stage))
        storage.write_bytes(storage.join(plan.root, folder, PLAN), parquet_bytes(of_stage))
    storage.write_bytes(storage.join(plan.root, PACKING), json.dumps({"folders": folders}, indent=2).encode())
    full = {stage: storage.join(plan.root, folder) for stage, folder in folders.items()}
    write(partial(ShardLane, plan.root, full, selection.shards, plan.key), len(selection.shards))


def _collect(root: str, selection: Selection, folders: Mapping[str, str]) -> list[PackedTask]:
    """Complete every set: `.nv-meta`, then `shards.parquet` as its last file."""
    rows: list[PackedTask] = []
    for stage, folder in folders.items():
        uris = [rows_uri(storage.join(root, folder), shard) for of, shard in selection.shards if of == stage]
        table = pa.concat_tables(read_parquet(uri) for uri in uris).cast(record_schema(PackedTask))
        complete(storage.join(root, folder), table)
        rows += from_rows(PackedTask, table.to_pylist())
    return rows


def complete(folder: str, table: pa.Table) -> None:
    """Make the tars in a folder a whole set: `.nv-meta`, then `shards.parquet` as its last file."""
    for path, data in energon_meta(*_energon_facts(table)).items():
        storage.write_bytes(storage.join(folder, path), data)
    storage.write_bytes(storage.join(folder, ROWS), parquet_bytes(table))


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
