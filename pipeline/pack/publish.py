"""A shard set is whole when its `shards.parquet` is there; what a run's current sets are is said in one file.

<root>/shards/<stage>/<key>/{train,val}-000000.tar, .tar.idx, .nv-meta/, shards.parquet
<root>/shards/current.json                      {"key": ..., "folders": {name: folder below the root}}
<root>/packed.json                              what the last pack was made from: a run with nothing to do reads no rows
<root>/shards/packing.json                      the folders that are being written now, for who trains meanwhile

The name of a set that the run packed is its stage; that of an imported one begins so: `omni_<key>`.
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
from pipeline.pack.groups import FOLDER, GROUPS, Group, groups_of
from pipeline.pack.lanes import ChooseLane, CloseLane, ShardLane, rows_uri
from pipeline.pack.numbering import LastPack, Shard
from pipeline.pack.rules import check_unique
from pipeline.pack.selection import Choice, choice_uris, facts_of
from pipeline.pack.settings import PackSettings
from pipeline.pack.writer import energon_meta
from pipeline.plan import Plan
from pipeline.state.keys import Facts, key_for, load, remember_pack
from pipeline.step import default_values
from stages.catalogue import CLOSED, CURRENT, PACKING, ROWS, current
from stages.samples import FAMILIES

Write = Callable[
    [Callable[[], Any], Sequence[int]], object
]  # makes lanes and brings numbers through them, on an engine


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
    """The manifest of pack: a part for each group, with a row per task in the shards, or per clip that is in none."""
    return Manifest(plan.root, len(plan.steps) + 1, "pack", key, PackedTask)


def current_manifest(plan: Plan) -> Manifest | None:
    """The manifest of the last whole pack, if there is one."""
    uri = storage.join(plan.root, CURRENT)
    stored = storage.read_if_there(uri)
    key = json.loads(stored)["key"] if stored is not None else ""
    return manifest_of(plan, key) if key else None  # what was imported has none


@dataclass(frozen=True)
class ShardSet:
    """What is to be published: of each group its choice, and all shards by stage and name."""

    plan: Plan
    settings: PackSettings
    choices: Sequence[Choice]
    key: str
    facts: Facts

    shards: Sequence[Shard]

    @property
    def folders(self) -> dict[str, str]:
        """Of each stage the folder below the root."""
        return {stage: f"shards/{stage}/{self.key}" for stage in sorted({shard.stage for shard in self.shards})}

    @property
    def manifest(self) -> Manifest:
        """The manifest of this pack."""
        return manifest_of(self.plan, self.key)

    def is_whole(self) -> bool:
        """Whether all of it is there."""
        is_committed = len(self.manifest.committed()) == len(self.choices)
        return is_committed and _have_rows(self.plan.root, self.folders.values())


def pack(plan: Plan, settings: PackSettings, write: Write) -> tuple[str, ...]:
    """Bring the shard sets up to date with the manifests; nothing is written where they are.

    Where the part files are those of the last pack, no row is read. A group is chosen anew where its part files
    changed, and written anew where what it gives changed. Returns what is wrong with the parts that could not be read:
    the shards are without them.
    """
    groups = groups_of(plan)
    uris = choice_uris(plan, settings, groups)
    identity = digest(uris, digits=64)
    last = LastPack.read(plan.root)
    if last.identity == identity and _is_current(plan, last):
        return ()
    made = _shard_set(plan, settings, _chosen(plan, settings, groups, uris, write), last)
    remember_pack(plan.root, made.manifest.folder, made.facts)
    if not made.is_whole():
        _write_all(made, write)
    _tidy(made)
    announce(plan.root, made.folders, made.key)
    storage.remove(storage.join(plan.root, PACKING))
    damaged = tuple(damage for choice in made.choices for damage in choice.damaged)
    # what is damaged is named by every run
    tars, shards = [choice.tars for choice in made.choices], [choice.shards for choice in made.choices]
    LastPack(made.key, "" if damaged else identity, tars, shards).write(plan.root)
    return damaged


def _chosen(
    plan: Plan, settings: PackSettings, groups: Sequence[Group], uris: Sequence[str], write: Write
) -> list[Choice]:
    """The choices of all groups. Those that are not there yet are made, and those of other settings are deleted."""
    there = {storage.join(plan.root, FOLDER, entry.path) for entry in storage.listing(storage.join(plan.root, FOLDER))}
    missing = [number for number, uri in enumerate(uris) if uri not in there]
    if missing:
        _check_videos(plan)
        _bring(write, partial(ChooseLane, plan, settings, groups, uris), missing)
    for uri in there - {*uris, storage.join(plan.root, GROUPS)}:
        storage.remove(uri)
    with ThreadPoolExecutor(8) as pool:  # footers are small: the wait is for the store, not for this machine
        return list(pool.map(Choice.read, uris))


def _bring(write: Write, make: Callable[[], Any], numbers: Sequence[int]) -> None:
    """Bring numbers through a lane, on the engine; a single one in this process, where nothing has to start first."""
    if len(numbers) > 1:
        write(make, numbers)
    for number in numbers if len(numbers) == 1 else ():
        make()(number)


def _check_videos(plan: Plan) -> None:
    """Raise RunError if two groups could have a video in common: within a part, the choice itself checks all ids."""
    with views.connect(plan.root, [plan.find_step("ingest").manifest], {}, []) as connection:
        if "ingest" in views.names(connection):
            check_unique(connection, ["ingest"])


def _shard_set(plan: Plan, settings: PackSettings, choices: Sequence[Choice], last: LastPack) -> ShardSet:
    facts = {**facts_of(plan, settings), "data": digest([choice.data for choice in choices], digits=64)}
    key = key_for(facts, {"settings": default_values(type(settings))}, load(plan.root).facts)
    shards = last.reused(choices, own(plan.root))
    return ShardSet(plan, settings, choices, key, facts, shards)


def _is_current(plan: Plan, last: LastPack) -> bool:
    """Whether the last pack is the current one, known to this root, and no file of its rows was deleted."""
    packed = current_manifest(plan)
    if packed is None or packed.key != last.key or packed.folder not in load(plan.root).facts:
        return False
    return len(packed.committed()) == len(last.tars) and _have_rows(plan.root, own(plan.root).values())


def _have_rows(root: str, folders: Iterable[str]) -> bool:
    """Whether each of these sets is whole: its rows are written last."""
    return all(storage.exists(storage.join(root, folder, ROWS)) for folder in folders)


def _write_all(made: ShardSet, write: Write) -> None:
    """Write the shards, complete the sets, then commit the manifest, which makes the pack whole."""
    plan, choices, shards = made.plan, made.choices, made.shards
    _announce_packing(made)
    _bring(write, partial(ShardLane, plan, made.settings, choices, made.folders, shards), range(len(shards)))
    for stage, folder in made.folders.items():
        uri = storage.join(plan.root, folder)
        complete(uri, (read_undamaged(rows_uri(uri, shard.name)) for shard in shards if shard.stage == stage))
    _bring(write, partial(CloseLane, made.manifest, choices, made.folders, shards), range(len(choices)))


def complete(folder: str, tables: Iterable[pa.Table]) -> None:
    """Make the tars in a folder a whole set: `.nv-meta`, then `shards.parquet` as its last file.

    tables: the rows of its shards, in order; those of a shard in one table.
    """
    counts: list[tuple[str, str, int]] = []
    with storage.draft(storage.join(folder, ROWS)) as path:
        with pq.ParquetWriter(path, record_schema(PackedTask), compression="zstd") as writer:
            for table in tables:
                writer.write_table(table.cast(record_schema(PackedTask)))
                counts += _samples(table)
        for name, data in energon_meta(*_energon_facts(counts)).items():
            storage.write_bytes(storage.join(folder, name), data)


def _samples(table: pa.Table) -> list[tuple[str, str, int]]:
    """(shard, split, number of samples) for each shard of a table."""
    found = table.group_by(["shard", "split"]).aggregate([("key", "count_distinct")]).to_pylist()
    return [(row["shard"], row["split"], row["key_count_distinct"]) for row in found]


def _energon_facts(counts: list[tuple[str, str, int]]) -> tuple[dict[str, int], list[str], list[str]]:
    samples = {shard: many for shard, _, many in sorted(counts)}
    train, val = ([shard for shard, of, _ in sorted(counts) if of == split] for split in ("train", "val"))
    return samples, train, val


def _announce_packing(made: ShardSet) -> None:
    """Tell trainers which tasks there will be: the choices, and the number of each one's first shards."""
    first: dict[int, dict[str, int]] = defaultdict(dict)
    for shard in made.shards:
        first[shard.group].setdefault(f"{shard.stage}/{shard.split}", shard.number)
    choices = [[choice.uri.removeprefix(f"{made.plan.root}/"), first[n]] for n, choice in enumerate(made.choices)]
    facts = {"folders": made.folders, "choices": choices}
    storage.write_bytes(storage.join(made.plan.root, PACKING), json.dumps(facts, indent=1).encode())


def _tidy(made: ShardSet) -> None:
    """Delete what only served to write the set."""
    for folder in made.folders.values():
        storage.remove_folder(storage.join(made.plan.root, folder, CLOSED))
