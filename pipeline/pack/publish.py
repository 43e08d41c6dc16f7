"""Publish shard sets. A set is whole when its `shards.parquet` exists; one file names the run's current sets.

<root>/shards/<stage>/<key>/{train,val}-000000.tar, .tar.idx, .nv-meta/, shards.parquet
<root>/shards/current.json                      {"key": ..., "folders": {name: folder below the root}}
<root>/packed.json                              inputs of the last pack: a run with nothing to do reads no rows
<root>/shards/packing.json                      the folders that are being written, for a training at the same time

The name of a set that the run packed is its stage; the name of an imported set begins with its stage: `omni_<key>`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage, views
from manifests.ledger import Manifest, digest, read_parquet
from manifests.parquet_files import read_undamaged
from manifests.records import PackedTask
from manifests.schema import from_rows, record_schema
from pipeline.pack.facts import pack_facts
from pipeline.pack.groups import FOLDER, GROUPS, Group, update_groups
from pipeline.pack.lanes import ChooseLane, CloseLane, ShardLane, rows_uri
from pipeline.pack.numbering import LastPack, Shard
from pipeline.pack.rules import check_unique
from pipeline.pack.selection import Choice, choice_uris
from pipeline.pack.settings import PackSettings
from pipeline.pack.writer import energon_meta
from pipeline.plan import Plan
from pipeline.state.keys import Facts, key_for, load, remember_pack
from pipeline.step import default_values
from stages.catalogue import CLOSED, CURRENT, PACKING, ROWS, current
from stages.samples import FAMILIES

RunLanes = Callable[
    [Callable[[], Any], Sequence[int]], object
]  # makes lanes on an engine and runs numbers through them


def stage_of(name: str) -> str:
    """Return the alignment stage of the set with this name."""
    return name.partition("_")[0]


def own_sets(root: str) -> dict[str, str]:
    """Return the sets that the run at `root` packed itself: folders by name."""
    return {name: folder for name, folder in current(root).items() if name in FAMILIES}


def publish_sets(root: str, folders: Mapping[str, str | None], key: str | None = None) -> None:
    """Update `current.json`: add the sets in `folders`, remove those that are None there, and keep all others.

    key: of the run's own sets, which then are only those in `folders`.
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


def read_rows(folder: str) -> list[PackedTask]:
    """Read the rows of a whole shard set. Raises OSError, ValueError or KeyError where they cannot be read."""
    return from_rows(PackedTask, read_parquet(storage.join(folder, ROWS)).to_pylist())


def pack_manifest(plan: Plan, key: str) -> Manifest:
    """Return the manifest of pack: a part for each group, with a row per packed task, or per clip without a task."""
    return Manifest(plan.root, plan.next_number, "pack", key, PackedTask)


def current_manifest(plan: Plan) -> Manifest | None:
    """Return the manifest of the last whole pack; None without one."""
    uri = storage.join(plan.root, CURRENT)
    stored = storage.read_if_there(uri)
    key = json.loads(stored)["key"] if stored is not None else ""
    return pack_manifest(plan, key) if key else None  # imported sets have no manifest


@dataclass(frozen=True)
class ShardSet:
    """The shard sets to publish: the choice of each group, and all shards by stage and name."""

    plan: Plan
    settings: PackSettings
    choices: Sequence[Choice]
    key: str
    facts: Facts

    shards: Sequence[Shard]

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each stage, below the root."""
        return {stage: f"shards/{stage}/{self.key}" for stage in sorted({shard.stage for shard in self.shards})}

    @property
    def manifest(self) -> Manifest:
        """The manifest of this pack."""
        return pack_manifest(self.plan, self.key)

    def is_whole(self) -> bool:
        """Return whether all groups are committed and all sets are whole."""
        is_committed = len(self.manifest.committed()) == len(self.choices)
        return is_committed and _are_whole(self.plan.root, self.folders.values())


def pack(plan: Plan, settings: PackSettings, run_lanes: RunLanes) -> tuple[str, ...]:
    """Bring the shard sets up to date with the manifests; writes nothing where they are.

    Where the part files are those of the last pack, no row is read. A group is chosen anew where its part files
    changed, and written anew where its samples changed. Returns the faults of parts that could not be read and are left
    out.
    """
    groups = update_groups(plan)
    uris = choice_uris(plan, settings, groups)
    identity = digest(uris, digits=64)
    last = LastPack.read(plan.root)
    if last.identity == identity and _is_current(plan, last):
        return ()
    shard_set = _plan_shard_set(plan, settings, _make_choices(plan, settings, groups, uris, run_lanes), last)
    remember_pack(plan.root, shard_set.manifest.folder, shard_set.facts)
    if not shard_set.is_whole():
        _write_set(shard_set, run_lanes)
    _remove_row_files(shard_set)
    publish_sets(plan.root, shard_set.folders, shard_set.key)
    storage.remove(storage.join(plan.root, PACKING))
    damaged = tuple(damage for choice in shard_set.choices for damage in choice.damaged)
    # without an identity the next run reports the damage again
    tars, shards = [choice.tars for choice in shard_set.choices], [choice.shards for choice in shard_set.choices]
    LastPack(shard_set.key, "" if damaged else identity, tars, shards).write(plan.root)
    return damaged


def _make_choices(
    plan: Plan, settings: PackSettings, groups: Sequence[Group], uris: Sequence[str], run_lanes: RunLanes
) -> list[Choice]:
    """Return the choices of all groups. Makes those that are missing, and deletes those of other settings."""
    existing = {
        storage.join(plan.root, FOLDER, entry.path) for entry in storage.listing(storage.join(plan.root, FOLDER))
    }
    missing = [number for number, uri in enumerate(uris) if uri not in existing]
    if missing:
        _check_videos(plan)
        _run_lane(run_lanes, partial(ChooseLane, plan, settings, groups, uris), missing)
    for uri in existing - {*uris, storage.join(plan.root, GROUPS)}:
        storage.remove(uri)
    with ThreadPoolExecutor(8) as pool:  # footers are small: the time is latency of the store
        return list(pool.map(Choice.read, uris))


def _run_lane(run_lanes: RunLanes, make: Callable[[], Any], numbers: Sequence[int]) -> None:
    """Bring numbers through a lane on the engine; a single number in this process, without the start of workers."""
    if len(numbers) > 1:
        run_lanes(make, numbers)
    for number in numbers if len(numbers) == 1 else ():
        make()(number)


def _check_videos(plan: Plan) -> None:
    """Raise RunError if two groups could have a video in common: within a part, the choice itself checks all ids."""
    with views.connect(plan.root, [plan.find_step("ingest").manifest], {}, []) as connection:
        if "ingest" in views.names(connection):
            check_unique(connection, ["ingest"])


def _plan_shard_set(plan: Plan, settings: PackSettings, choices: Sequence[Choice], last: LastPack) -> ShardSet:
    facts = {**pack_facts(plan, settings), "data": digest([choice.data for choice in choices], digits=64)}
    key = key_for(facts, {"settings": default_values(type(settings))}, load(plan.root).facts)
    shards = last.reuse_shards(choices, own_sets(plan.root))
    return ShardSet(plan, settings, choices, key, facts, shards)


def _is_current(plan: Plan, last: LastPack) -> bool:
    """Return whether the last pack is the current one, known to this root, and has all files of rows."""
    packed = current_manifest(plan)
    if packed is None or packed.key != last.key or packed.folder not in load(plan.root).facts:
        return False
    return len(packed.committed()) == len(last.tars) and _are_whole(plan.root, own_sets(plan.root).values())


def _are_whole(root: str, folders: Iterable[str]) -> bool:
    """Return whether each of these sets is whole: its rows are written last."""
    return all(storage.exists(storage.join(root, folder, ROWS)) for folder in folders)


def _write_set(shard_set: ShardSet, run_lanes: RunLanes) -> None:
    """Write the shards, complete the sets, then commit the manifest, which makes the pack whole."""
    plan, choices, shards = shard_set.plan, shard_set.choices, shard_set.shards
    _announce_packing(shard_set)
    _run_lane(
        run_lanes, partial(ShardLane, plan, shard_set.settings, choices, shard_set.folders, shards), range(len(shards))
    )
    for stage, folder in shard_set.folders.items():
        uri = storage.join(plan.root, folder)
        complete_set(uri, (read_undamaged(rows_uri(uri, shard.name)) for shard in shards if shard.stage == stage))
    _run_lane(
        run_lanes, partial(CloseLane, shard_set.manifest, choices, shard_set.folders, shards), range(len(choices))
    )


def complete_set(folder: str, tables: Iterable[pa.Table]) -> None:
    """Make the tars in a folder a whole set: write `.nv-meta`, then `shards.parquet` as the last file.

    tables: the rows of its shards, in order; those of a shard in one table.
    """
    counts: list[tuple[str, str, int]] = []
    with storage.draft(storage.join(folder, ROWS)) as path:
        with pq.ParquetWriter(path, record_schema(PackedTask), compression="zstd") as writer:
            for table in tables:
                writer.write_table(table.cast(record_schema(PackedTask)))
                counts += _count_samples(table)
        for name, data in energon_meta(*_energon_facts(counts)).items():
            storage.write_bytes(storage.join(folder, name), data)


def _count_samples(table: pa.Table) -> list[tuple[str, str, int]]:
    """Return (shard, split, number of samples) for each shard of a table."""
    found = table.group_by(["shard", "split"]).aggregate([("key", "count_distinct")]).to_pylist()
    return [(row["shard"], row["split"], row["key_count_distinct"]) for row in found]


def _energon_facts(counts: list[tuple[str, str, int]]) -> tuple[dict[str, int], list[str], list[str]]:
    samples = {shard: count for shard, _, count in sorted(counts)}
    train, val = ([shard for shard, side, _ in sorted(counts) if side == split] for split in ("train", "val"))
    return samples, train, val


def _announce_packing(shard_set: ShardSet) -> None:
    """Write `packing.json` for trainers: the choices, and the number of each choice's first shards."""
    first: dict[int, dict[str, int]] = defaultdict(dict)
    for shard in shard_set.shards:
        first[shard.group].setdefault(f"{shard.stage}/{shard.split}", shard.number)
    choices = [
        [choice.uri.removeprefix(f"{shard_set.plan.root}/"), first[n]] for n, choice in enumerate(shard_set.choices)
    ]
    facts = {"folders": shard_set.folders, "choices": choices}
    storage.write_bytes(storage.join(shard_set.plan.root, PACKING), json.dumps(facts, indent=1).encode())


def _remove_row_files(shard_set: ShardSet) -> None:
    """Delete the rows files of single shards, which the whole set replaces."""
    for folder in shard_set.folders.values():
        storage.remove_folder(storage.join(shard_set.plan.root, folder, CLOSED))
