"""What there is to train on: the tasks of shard sets, and where each lies, without a byte of media being read.

In: roots of runs (`shards/current.json` names their sets), or folders that hold a `shards.parquet`. Out: a `Catalogue`,
one row a task. While a run still packs, what it will have packed is known already: its tasks are all there, and who
asks where one lies waits until its shard is closed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from manifests import storage
from stages.errors import StagesError
from stages.samples import FAMILIES

CURRENT, PACKING = "shards/current.json", "shards/packing.json"
ROWS = "shards.parquet"
CLOSED = "rows"  # folder of a set that is being packed: a Parquet file for each shard that is closed
PATIENCE = 1800.0  # seconds without a shard being closed: a shard takes minutes, so nobody packs any more
GLANCE = 1.0
ORDER = ("shard", "batch", "key", "kind", "number")  # of the rows of a group
COLUMNS = ("id", "kind", "stage", "split", "shard", "offset", "size", "tokens")


class Place(NamedTuple):
    """Where a task lies: its row, its id, and the span of its sample in a shard, in bytes."""

    row: int
    task: str
    uri: str
    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Tasks in the order of their sets and rows.

    table: columns id, kind, stage, uri (of the shard), offset and size (of the sample in it, bytes), tokens.
    """

    table: pa.Table

    @cached_property
    def digest(self) -> str:
        """Names the tasks, wherever they lie."""
        digest = blake3()
        for name in ("id", "tokens"):
            digest.update("\n".join(self.table[name].cast(pa.string()).to_pylist()).encode())
        return digest.hexdigest()[:16]

    def places(self, rows: Sequence[int] | np.ndarray) -> list[Place]:
        """Where tasks lie."""
        found = self.table.select(["id", "uri", "offset", "size"]).take(pa.array(rows, pa.int64()))
        columns = (column.to_pylist() for column in found.columns)
        return [Place(int(row), *one) for row, *one in zip(rows, *columns, strict=True)]

    def __len__(self) -> int:
        return len(self.table)

    def ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Ids of tasks."""
        return [str(name) for name in self.table["id"].take(pa.array(rows, pa.int64())).to_pylist()]

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers (tasks,), int64."""
        return np.asarray(self.table[column].to_numpy(), dtype=np.int64)

    def kinds(self) -> dict[str, np.ndarray]:
        """The rows of each kind, by the kind's name."""
        return self._rows("kind")

    def stages(self) -> dict[str, np.ndarray]:
        """The rows of each alignment stage."""
        return self._rows("stage")

    def counts(self) -> Counter[str]:
        """How many tasks there are of each kind."""
        return Counter({kind: len(rows) for kind, rows in self.kinds().items()})

    def codes(self, column: str) -> np.ndarray:
        """A column of names as numbers (tasks,), in the order in which the names first come."""
        return np.asarray(self._coded(column).indices.to_numpy(), dtype=np.int64)

    def samples(self) -> np.ndarray:
        """Of each task (tasks,) the number of its sample, which its id and its shard tell."""
        clips = pc.replace_substring_regex(self.table["id"].cast(pa.string()), "-[^-]*-[^-]*$", "")
        names = pc.binary_join_element_wise(self.table["uri"].cast(pa.string()), clips, " ")
        return np.asarray(pc.dictionary_encode(names.combine_chunks()).indices.to_numpy(), dtype=np.int64)

    def _rows(self, column: str) -> dict[str, np.ndarray]:
        codes = self.codes(column)
        code_of = {str(name): code for code, name in enumerate(self._coded(column).dictionary.to_pylist())}
        return {name: np.flatnonzero(codes == code_of[name]) for name in sorted(code_of)}

    def _coded(self, column: str) -> pa.DictionaryArray:
        return pc.dictionary_encode(self.table[column].combine_chunks())


def current(root: str) -> dict[str, str]:
    """Folders below `root` of the last whole shard sets, by stage; none before the first."""
    uri = storage.join(root, CURRENT)
    stored = storage.read_if_there(uri)
    folders: dict[str, str] = json.loads(stored)["folders"] if stored is not None else {}
    return folders


class Packing(Catalogue):
    """Tasks of sets of which not all shards are closed yet; offset and size in the table mean nothing."""

    def places(self, rows: Sequence[int] | np.ndarray) -> list[Place]:
        """Where tasks lie, once their shards are closed. StagesError when no shard is for half an hour."""
        found = super().places(rows)
        spans = {uri: self._spans(uri) for uri in dict.fromkeys(place.uri for place in found)}
        return [Place(p.row, p.task, p.uri, *spans[p.uri][p.task]) for p in found]

    @cached_property
    def _spans(self) -> Callable[[str], dict[str, tuple[int, int]]]:
        return cache(_closed)


def _closed(uri: str) -> dict[str, tuple[int, int]]:
    """Offset and size of the sample of each task of a shard, by the task's id; waits until there are any."""
    folder, _, shard = uri.rpartition("/")
    files = [storage.join(folder, ROWS), storage.join(folder, CLOSED, f"{shard.removesuffix('.tar')}.parquet")]
    since, closed = time.monotonic(), -1
    while time.monotonic() - since < PATIENCE:
        for file in filter(storage.exists, files):
            with suppress(FileNotFoundError):  # of a shard alone, when all are whole meanwhile
                table = _read(file, ("id", "shard", "offset", "size"))
                rows = table.filter(pc.equal(table["shard"], shard)).to_pylist()
                return {row["id"]: (row["offset"], row["size"]) for row in rows}
        if (now := len(storage.listing(storage.join(folder, CLOSED)))) > closed:
            since, closed = time.monotonic(), now
        time.sleep(GLANCE)
    raise StagesError(f"{uri}: no shard was closed for {PATIENCE / 60:.0f} minutes: is the run still at work?")


def catalogue(sources: Sequence[str], split: str = "train", live: bool = False) -> Catalogue:
    """The tasks of all sources. live: also of what a run is packing now.

    Raises StagesError for a source without shards, or shards that are not whole.
    """
    packing = {source: _packing(storage.normal(source)) for source in sources} if live else {}
    tables = [table for source in sources for table in _tables(source, split, packing.get(source))]
    table = pa.concat_tables(tables).combine_chunks()
    made = Packing(table) if any(packing.values()) else Catalogue(table)
    if not len(made):
        raise StagesError(f"{', '.join(sources)}: no task of the split {split!r} in the shards")
    return made


def _tables(source: str, split: str, packing: Mapping[str, Any] | None) -> list[pa.Table]:
    if packing:
        return _planned(storage.normal(source), packing, split)
    return [_set(folder, split) for folder in folders(source)]


def _packing(root: str) -> dict[str, Any]:
    """What `packing.json` says of the sets that a run is writing now; nothing where it is not at it."""
    uri = storage.join(root, PACKING)
    facts: dict[str, Any] = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
    return facts


def _planned(root: str, packing: Mapping[str, Any], split: str) -> list[pa.Table]:
    """The tasks of the sets of a run that packs, as `_set` gives those that are whole; with what was imported."""
    imported = {name: folder for name, folder in current(root).items() if name not in FAMILIES}
    named: dict[str, str] = {**packing["folders"], **imported}
    found = []
    for name in sorted(named, key=lambda name: (name not in FAMILIES, name)):
        folder = storage.join(root, named[name])
        if storage.exists(storage.join(folder, ROWS)):
            found.append(_set(folder, split))
        else:
            found += [_of_group(root, folder, name, split, *choice) for choice in packing["choices"]]
    return found


def _of_group(root: str, folder: str, stage: str, split: str, choice: str, first: Mapping[str, int]) -> pa.Table:
    """The tasks that a group of parts will have in the set of a stage.

    choice: the file that says which shard of the group each is for. first: number of the group's first shard in the
    set, by "<stage>/<split>".
    """
    with storage.open_random(storage.join(root, choice)) as file:
        table = pa.ipc.open_file(file).read_all()
    table = table.filter(pc.and_(pc.equal(table["split"], split), pc.equal(table["stage"], stage)))
    table = table.sort_by([(name, "ascending") for name in ORDER])
    start = first.get(f"{stage}/{split}", 0)
    uris = [f"{folder}/{split}-{start + shard:06d}.tar" for shard in table["shard"].to_pylist()]
    unknown = pa.array(np.zeros(len(table), np.int64))
    tokens = table["tokens"].cast(pa.int64())
    columns = [table["id"], table["kind"], table["stage"], pa.array(uris, pa.string()), unknown, unknown, tokens]
    return pa.table(dict(zip(("id", "kind", "stage", "uri", "offset", "size", "tokens"), columns, strict=True)))


def folders(source: str) -> list[str]:
    """The shard sets of a run's root, or the folder itself if it is one. Raises StagesError."""
    root = storage.normal(source)
    if storage.exists(storage.join(root, ROWS)):
        return [root]
    if found := current(root):
        return [storage.join(root, folder) for folder in found.values()]
    raise StagesError(f"{source}: no shards: neither {CURRENT} (of a run that has packed) nor {ROWS} is there")


def _set(folder: str, split: str) -> pa.Table:
    table = _read(storage.join(folder, ROWS), COLUMNS)
    table = table.filter(pc.equal(table["split"], split))
    _check(folder, table)
    uris = pc.binary_join_element_wise(pa.scalar(folder), table["shard"].cast(pa.string()), "/")
    return table.set_column(table.column_names.index("shard"), "uri", uris).drop_columns(["split"])


def _read(uri: str, columns: Sequence[str]) -> pa.Table:
    try:
        with storage.open_random(uri) as file:
            return pq.read_table(file, columns=list(columns))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        damage = not isinstance(error, OSError)  # of pyarrow: it is no Parquet file
        advice = "; delete it and do `ola run` again" if damage else ""
        raise StagesError(f"{uri}: cannot be read: {' '.join(str(error).split())}{advice}") from error


def _check(folder: str, table: pa.Table) -> None:
    """Every shard must be there, at least as long as its samples reach."""
    have = {entry.path: entry.size for entry in storage.listing(folder)}
    ends = table.append_column("end", pc.add(table["offset"], table["size"]))
    for row in ends.group_by("shard").aggregate([("end", "max")]).to_pylist():
        shard, end = row["shard"], row["end_max"]
        if shard not in have:
            raise StagesError(f"{folder}/{shard}: the shard is missing; pack again, or copy the whole folder")
        if have[shard] < end:
            raise StagesError(
                f"{folder}/{shard}: {have[shard]} bytes, its samples reach to {end}: the tar is truncated"
            )
