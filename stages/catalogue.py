"""List the tasks of shard sets and their places in the shards, without reading media.

In: roots of runs (`shards/current.json` names their sets), or folders with a `shards.parquet`. Out: a `Catalogue` with
one row per task. The catalogue of a run that is still packing has all tasks that will be packed; `locate` waits until
a task's shard is closed.
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
CLOSED = "rows"  # folder in an unfinished set, with a Parquet file for each closed shard
CLOSE_TIMEOUT = 1800.0  # seconds without a newly closed shard: packing a shard takes minutes, so the run has ended
POLL_SECONDS = 1.0
ORDER = ("shard", "batch", "key", "kind", "number")  # sort keys of a group's rows
COLUMNS = ("id", "kind", "stage", "split", "shard", "offset", "size", "tokens")


class Place(NamedTuple):
    """The place of a task: its row, its id, and the byte range of its sample in a shard."""

    row: int
    task: str
    uri: str
    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The tasks of shard sets, in the order of sets and rows.

    table: columns id, kind, stage, uri (of the shard), offset and size (of the sample in it, bytes), tokens.
    """

    table: pa.Table

    @cached_property
    def digest(self) -> str:
        """Digest of the tasks' ids and lengths, independent of their places."""
        digest = blake3()
        for name in ("id", "tokens"):
            digest.update("\n".join(self.table[name].cast(pa.string()).to_pylist()).encode())
        return digest.hexdigest()[:16]

    def locate(self, rows: Sequence[int] | np.ndarray) -> list[Place]:
        """Return the places of tasks."""
        found = self.table.select(["id", "uri", "offset", "size"]).take(pa.array(rows, pa.int64()))
        columns = (column.to_pylist() for column in found.columns)
        return [Place(int(row), *span) for row, *span in zip(rows, *columns, strict=True)]

    def __len__(self) -> int:
        return len(self.table)

    def ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the ids of tasks."""
        return [str(name) for name in self.table["id"].take(pa.array(rows, pa.int64())).to_pylist()]

    def numbers(self, column: str) -> np.ndarray:
        """Return an integer column as array (tasks,), int64."""
        return np.asarray(self.table[column].to_numpy(), dtype=np.int64)

    def kinds(self) -> dict[str, np.ndarray]:
        """Return the rows of each kind."""
        return self._rows("kind")

    def stages(self) -> dict[str, np.ndarray]:
        """Return the rows of each alignment stage."""
        return self._rows("stage")

    def counts(self) -> Counter[str]:
        """Return the number of tasks of each kind."""
        return Counter({kind: len(rows) for kind, rows in self.kinds().items()})

    def codes(self, column: str) -> np.ndarray:
        """Return a text column as codes (tasks,), int64, numbered by first appearance."""
        return np.asarray(self._encode(column).indices.to_numpy(), dtype=np.int64)

    def samples(self) -> np.ndarray:
        """Return the number of each task's sample (tasks,), derived from the task's id and shard."""
        clips = pc.replace_substring_regex(self.table["id"].cast(pa.string()), "-[^-]*-[^-]*$", "")
        names = pc.binary_join_element_wise(self.table["uri"].cast(pa.string()), clips, " ")
        return np.asarray(pc.dictionary_encode(names.combine_chunks()).indices.to_numpy(), dtype=np.int64)

    def _rows(self, column: str) -> dict[str, np.ndarray]:
        codes = self.codes(column)
        code_of = {str(name): code for code, name in enumerate(self._encode(column).dictionary.to_pylist())}
        return {name: np.flatnonzero(codes == code_of[name]) for name in sorted(code_of)}

    def _encode(self, column: str) -> pa.DictionaryArray:
        return pc.dictionary_encode(self.table[column].combine_chunks())


def current(root: str) -> dict[str, str]:
    """Return the folders below `root` of the latest complete shard sets, by stage; empty before the first set."""
    uri = storage.join(root, CURRENT)
    stored = storage.read_if_there(uri)
    set_folders: dict[str, str] = json.loads(stored)["folders"] if stored is not None else {}
    return set_folders


class LiveCatalogue(Catalogue):
    """Tasks of sets that are still being packed; offset and size in the table are placeholders."""

    def locate(self, rows: Sequence[int] | np.ndarray) -> list[Place]:
        """Return places once their shards are closed. Raises StagesError after half an hour without a closed shard."""
        found = super().locate(rows)
        spans = {uri: self._spans(uri) for uri in dict.fromkeys(place.uri for place in found)}
        return [Place(p.row, p.task, p.uri, *spans[p.uri][p.task]) for p in found]

    @cached_property
    def _spans(self) -> Callable[[str], dict[str, tuple[int, int]]]:
        return cache(_wait_for_spans)


def _wait_for_spans(uri: str) -> dict[str, tuple[int, int]]:
    """Wait until a shard is closed; return offset and size of the sample of each of its tasks, by task id."""
    folder, _, shard = uri.rpartition("/")
    files = [storage.join(folder, ROWS), storage.join(folder, CLOSED, f"{shard.removesuffix('.tar')}.parquet")]
    since, closed = time.monotonic(), -1
    while time.monotonic() - since < CLOSE_TIMEOUT:
        for file in filter(storage.exists, files):
            with suppress(
                FileNotFoundError
            ):  # the set was completed meanwhile, which deletes the files of single shards
                table = _read_columns(file, ("id", "shard", "offset", "size"))
                rows = table.filter(pc.equal(table["shard"], shard)).to_pylist()
                return {row["id"]: (row["offset"], row["size"]) for row in rows}
        if (now := len(storage.listing(storage.join(folder, CLOSED)))) > closed:
            since, closed = time.monotonic(), now
        time.sleep(POLL_SECONDS)
    raise StagesError(
        f"{uri}: no shard was closed for {CLOSE_TIMEOUT / 60:.0f} minutes; check that the run still packs"
    )


def read_catalogue(sources: Sequence[str], split: str = "train", live: bool = False) -> Catalogue:
    """Read the tasks of all sources. live: include the sets that a run is packing now.

    Raises StagesError if a source has no shards, a shard is missing or truncated, or no task has the split.
    """
    packing = {source: _read_packing(storage.normal(source)) for source in sources} if live else {}
    tables = [table for source in sources for table in _source_tables(source, split, packing.get(source))]
    table = pa.concat_tables(tables).combine_chunks()
    found = LiveCatalogue(table) if any(packing.values()) else Catalogue(table)
    if not len(found):
        raise StagesError(f"{', '.join(sources)}: no task of the split {split!r} in the shards")
    return found


def _source_tables(source: str, split: str, packing: Mapping[str, Any] | None) -> list[pa.Table]:
    if packing:
        return _planned_tables(storage.normal(source), packing, split)
    return [_set_table(folder, split) for folder in set_folders(source)]


def _read_packing(root: str) -> dict[str, Any]:
    """Read `packing.json`, the plan of the sets that a run is writing now; empty if the run is not packing."""
    uri = storage.join(root, PACKING)
    facts: dict[str, Any] = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
    return facts


def _planned_tables(root: str, packing: Mapping[str, Any], split: str) -> list[pa.Table]:
    """Return the tasks of a packing run's sets, planned or complete, and those of imported sets."""
    imported = {name: folder for name, folder in current(root).items() if name not in FAMILIES}
    folder_of: dict[str, str] = {**packing["folders"], **imported}
    found = []
    for name in sorted(folder_of, key=lambda name: (name not in FAMILIES, name)):
        folder = storage.join(root, folder_of[name])
        if storage.exists(storage.join(folder, ROWS)):
            found.append(_set_table(folder, split))
        else:
            found += [_group_table(root, folder, name, split, *choice) for choice in packing["choices"]]
    return found


def _group_table(root: str, folder: str, stage: str, split: str, choice: str, first: Mapping[str, int]) -> pa.Table:
    """Return the tasks that a group of parts will have in the set of a stage.

    choice: file with the shard of each task within the group. first: number of the group's first shard in the set, by
    "<stage>/<split>".
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


def set_folders(source: str) -> list[str]:
    """Return the shard sets of a run's root, or the folder itself if it is a set. Raises StagesError if neither."""
    root = storage.normal(source)
    if storage.exists(storage.join(root, ROWS)):
        return [root]
    if found := current(root):
        return [storage.join(root, folder) for folder in found.values()]
    raise StagesError(f"{source}: no shards: expected {CURRENT} (of a run that has packed) or {ROWS}")


def _set_table(folder: str, split: str) -> pa.Table:
    table = _read_columns(storage.join(folder, ROWS), COLUMNS)
    table = table.filter(pc.equal(table["split"], split))
    _check_shards(folder, table)
    uris = pc.binary_join_element_wise(pa.scalar(folder), table["shard"].cast(pa.string()), "/")
    return table.set_column(table.column_names.index("shard"), "uri", uris).drop_columns(["split"])


def _read_columns(uri: str, columns: Sequence[str]) -> pa.Table:
    try:
        with storage.open_random(uri) as file:
            return pq.read_table(file, columns=list(columns))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        damage = not isinstance(error, OSError)  # pyarrow's error for a file that is not Parquet
        advice = "; delete it and run `ola run` again" if damage else ""
        raise StagesError(f"{uri}: cannot be read: {' '.join(str(error).split())}{advice}") from error


def _check_shards(folder: str, table: pa.Table) -> None:
    """Raise StagesError if a shard is missing or shorter than its samples."""
    sizes = {entry.path: entry.size for entry in storage.listing(folder)}
    ends = table.append_column("end", pc.add(table["offset"], table["size"]))
    for row in ends.group_by("shard").aggregate([("end", "max")]).to_pylist():
        shard, end = row["shard"], row["end_max"]
        if shard not in sizes:
            raise StagesError(f"{folder}/{shard}: the shard is missing; pack again or copy the whole folder")
        if sizes[shard] < end:
            raise StagesError(
                f"{folder}/{shard}: expected at least {end} bytes, got {sizes[shard]}: the tar is truncated"
            )
