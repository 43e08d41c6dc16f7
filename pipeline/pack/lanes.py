"""The lanes of pack, which an engine spreads over workers: choose for groups, write shards, close groups.

A shard's rows file is written last: if it exists, the shard is whole and is not written again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import DROPPED, OK, Manifest, parquet_bytes
from manifests.linking import link
from manifests.parquet_files import raise_damaged, read_undamaged
from manifests.records import Outcome, PackedTask
from manifests.schema import from_rows, record_schema, records_table
from pipeline.engine.lane_plan import Lane
from pipeline.pack.build import write_shard
from pipeline.pack.groups import Group
from pipeline.pack.numbering import Shard
from pipeline.pack.part_candidates import PartCandidates
from pipeline.pack.selection import Choice, read_content, select_tasks
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from stages.catalogue import CLOSED, ROWS


def rows_uri(folder: str, shard: str) -> str:
    """Return the uri of a shard's rows, which lie there until the set is whole."""
    return storage.join(folder, CLOSED, f"{shard}.parquet")


class ChooseLane(Lane):
    """Makes the choices of groups, by the group's number."""

    def __init__(self, plan: Plan, settings: PackSettings, groups: Sequence[Group], uris: Sequence[str]) -> None:
        """uris: of the choice of each group."""
        self.candidates, self.groups, self.uris = PartCandidates(plan, settings), groups, uris

    def __call__(self, number: int) -> None:
        """Choose for one group."""
        storage.write_bytes(self.uris[number], Choice.to_bytes(*select_tasks(self.candidates, self.groups[number])))


class ShardLane(Lane):
    """Writes shards by number: the n-th of a set."""

    def __init__(
        self,
        plan: Plan,
        settings: PackSettings,
        choices: Sequence[Choice],
        folders: Mapping[str, str],
        shards: Sequence[Shard],
    ) -> None:
        """choices: of all groups. folders: of each stage's shard set, below the root."""
        self.plan, self.candidates = plan, PartCandidates(plan, settings)
        self.choices, self.folders, self.shards = choices, folders, shards
        self.rows_of = lru_cache(maxsize=1)(lambda group: choices[group].rows())  # neighbouring shards are of one group

    def __call__(self, number: int) -> None:
        """Write one shard, or link it to an equal one, unless it is whole already."""
        shard = self.shards[number]
        folder = storage.join(self.plan.root, self.folders[shard.stage])
        if not storage.exists(rows_uri(folder, shard.name)):
            storage.write_bytes(rows_uri(folder, shard.name), parquet_bytes(self._write_shard(shard, folder)))

    def _write_shard(self, shard: Shard, folder: str) -> pa.Table:
        """Put the tar and its index into the folder. Returns a row for each task."""
        with suppress(FileNotFoundError):
            if shard.equal_shard is not None:
                return link_shard(self.plan.root, shard, folder)
        chosen = self.rows_of(shard.group)
        for name, value in {"stage": shard.stage, "split": shard.split, "shard": shard.place}.items():
            chosen = chosen.filter(pc.equal(chosen[name], value))
        content = read_content(self.candidates, self.choices[shard.group], chosen)
        rows = write_shard(self.plan.root, folder, shard.stage, shard.name, content, self.plan.key)
        return records_table(PackedTask, rows)


def link_shard(root: str, shard: Shard, folder: str) -> pa.Table:
    """Link an equal shard of another set into this one, under its name here. Returns its rows.

    Raises FileNotFoundError where the other set is not whole.
    """
    assert shard.equal_shard is not None
    other, name = shard.equal_shard
    uri = storage.join(root, other, ROWS)
    with raise_damaged(uri), storage.open_random(uri) as file:
        table = pq.read_table(file, filters=pc.field("shard") == f"{name}.tar")
    for ending in (".tar", ".tar.idx"):
        link(storage.join(root, other, name + ending), storage.join(folder, shard.name + ending))
    renamed = pa.array([f"{shard.name}.tar"] * len(table), pa.string())
    return table.cast(record_schema(PackedTask)).set_column(table.column_names.index("shard"), "shard", renamed)


class CloseLane(Lane):
    """Commits the outcomes of the clips of groups, by the group's number."""

    def __init__(
        self, manifest: Manifest, choices: Sequence[Choice], folders: Mapping[str, str], shards: Sequence[Shard]
    ) -> None:
        """folders: of each stage's shard set, below the root."""
        self.manifest, self.choices, self.folders = manifest, choices, folders
        self.shards: dict[int, list[Shard]] = defaultdict(list)
        for shard in shards:
            self.shards[shard.group].append(shard)

    def __call__(self, number: int) -> None:
        """Commit one group: for each clip its rows in shards, or the reason why it has none."""
        packed: dict[str, tuple[PackedTask, ...]] = defaultdict(tuple)
        for shard in self.shards[number]:
            uri = rows_uri(storage.join(self.manifest.root, self.folders[shard.stage]), shard.name)
            for row in from_rows(PackedTask, read_undamaged(uri).to_pylist()):
                packed[row.clip] += (row,)
        rows = self.choices[number].rows().select(["clip", "reason"]).to_pylist()
        reasons = {row["clip"]: row["reason"] for row in rows}
        self.manifest.commit(
            number, list(reasons), [_clip_outcome(clip, packed[clip], reasons[clip]) for clip in reasons]
        )


def _clip_outcome(clip: str, packed: tuple[PackedTask, ...], reason: str | None) -> Outcome:
    return Outcome(clip, OK, 0.0, packed) if packed else Outcome(clip, DROPPED, 0.0, (), reason)
