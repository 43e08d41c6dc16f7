"""Which tasks of a group go into which of its shards: queries over the rows of some of its parts at a time.

In: the committed rows of a group's parts. Out: a `Choice`, kept as `<root>/pack/group-000012-<identity>.arrow`, with
a row for each chosen task and for each clip that is in no shard. The identity follows from pack's settings and prompts
and from the part files, so a choice whose file is there need not be made again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage, views
from manifests.blocks import PartFiles
from manifests.ledger import Damaged, Manifest, digest
from manifests.parquet_files import raise_damaged
from pipeline.errors import RunError
from pipeline.pack.candidates import SPOKEN, create_candidates
from pipeline.pack.groups import FOLDER, Group
from pipeline.pack.rules import check_unique, judge
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.prompts import prompt
from pipeline.sources.given import table
from stages.samples import MADE

VERSION = 3
FACTS = b"ola.choice"  # in the footer of a choice's file
Tables = dict[str, pa.Table]  # of a part, by the name of the step
PART_FILE = re.compile(r"parts?-(\d{6,})(?:-(\d{6,}))?\.parquet")
BATCH = 2048  # clips that are chosen together: some 100 MB
IN_TARS = ("shard_mb", "val")  # settings that the bytes of shards follow from, beside which tasks are chosen

# Samples in the order of their keys, which is by video and time. Videos, not clips, fall to train or val: by their id,
# which is a digest and so evenly spread.
SAMPLES = """
SELECT DISTINCT v.stage, v.clip || '-' || v.stage AS key, v.clip,
       CASE WHEN ('0x' || v.video[1:8])::UBIGINT < {val} * 4294967296 THEN 'val' ELSE 'train' END AS split,
       CASE v.stage WHEN 'image' THEN f.frame_bytes[len(f.frame_bytes) // 2 + 1]
                    WHEN 'video' THEN list_sum(f.frame_bytes)
                    ELSE list_sum(f.frame_bytes) + coalesce(f.sound.size, 0) END + 4096 AS bytes
FROM verdicts v JOIN extract f ON f.clip = v.clip AND f.status = 'ok' WHERE v.reason IS NULL
ORDER BY v.stage, split, key
"""

# What a sample tells of a segment: scores and flags of a later version are no new content.
SEGMENTS = """list_transform(segments, lambda s: struct_pack(
    "start" := s.start, "end" := s."end", "text" := s.text, words := s.words))::VARCHAR"""

# A row for each task in a shard; of a clip that is in no shard, why each of its tasks was left out.
CHOSEN = """
SELECT {batch} AS batch, v.clip, concat_ws('-', v.clip, v.kind, v.number) AS id, v.kind, v.number, v.stage, p.key,
       p.split, p.shard, v.tokens, NULL::VARCHAR AS reason
FROM verdicts v JOIN places p ON p.clip = v.clip AND p.stage = v.stage WHERE v.reason IS NULL
UNION ALL BY NAME
SELECT {batch} AS batch, clip, array_to_string(list_sort(list_distinct(list(reason))), '; ') AS reason
FROM verdicts GROUP BY clip HAVING bool_and(reason IS NOT NULL)
ORDER BY clip, stage, key, kind, number
"""

# What the content of shards follows from, without where the media happen to lie: of all tasks, and of those in shards.
DATA = """
SELECT {digest}, {digest} FILTER (chosen) FROM (
    SELECT c.clip, c.kind, c.number, v.reason IS NULL AS chosen,
           md5(concat_ws('|', c.clip, c.kind, c.number, coalesce(v.reason, p.split), question, options::VARCHAR, answer,
                         needs, complete, informative, {segments}, frame_bytes::VARCHAR, frame_ms::VARCHAR,
                         meta::VARCHAR, uri, task_origin, task_field)) AS hash
    FROM candidates c JOIN verdicts v USING (clip, kind, number)
    LEFT JOIN places p ON p.clip = c.clip AND p.stage = c.stage)
"""
DIGEST = "string_agg(hash, '' ORDER BY clip, kind, number)"

# All that the tasks of some samples are made of.
CONTENT = """
SELECT c.* REPLACE (CASE WHEN c.kind IN {spoken} THEN c.segments END AS segments), p.key, p.split
FROM candidates c JOIN chosen p USING (clip, kind, number) ORDER BY p.key, c.kind, c.number
"""


@dataclass(frozen=True)
class Choice:
    """What a group gives to a shard set.

    uri: of the file with its rows. data, tars: digests of all its tasks and of what its shards hold. shards: how many,
    by "<stage>/<split>". batches: the parts that were read together. damaged: parts that could not be read, and are
    not in it.
    """

    uri: str
    data: str
    tars: str
    shards: Mapping[str, int]
    batches: Sequence[Sequence[int]] = ()
    damaged: Sequence[str] = ()

    @classmethod
    def read(cls, uri: str) -> Choice:
        """Read a choice from the footer of its file."""
        with raise_damaged(uri), storage.open_random(uri) as file:
            return cls(uri, **json.loads(pa.ipc.open_file(file).schema.metadata[FACTS]))

    def rows(self) -> pa.Table:
        """All its rows: batch, clip, id, kind, number, stage, key, split, shard (within the group), tokens, reason."""
        with raise_damaged(self.uri), storage.open_random(self.uri) as file:
            return pa.ipc.open_file(file).read_all()

    @staticmethod
    def bytes_of(rows: pa.Table, facts: Mapping[str, Any]) -> bytes:
        """Make the file of a choice: compressed Arrow, with the facts in the schema."""
        table = rows.replace_schema_metadata({FACTS: json.dumps(facts)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue().to_pybytes())


def choice_uris(plan: Plan, settings: PackSettings, groups: Sequence[Group]) -> list[str]:
    """Where the choice of each group lies, or will lie: two for which a choice could differ have two names."""
    base, files = digest(facts_of(plan, settings)), _files_of(plan)
    found = []
    for group in groups:
        identity = digest([base, [files[part] for part in group.parts]])
        found.append(storage.join(plan.root, f"{FOLDER}/group-{group.number:06d}-{identity}.arrow"))
    return found


def _files_of(plan: Plan) -> Mapping[int, list[Any]]:
    """Of each part the files that hold its rows, with size and stamp."""
    found: dict[int, list[Any]] = defaultdict(list)
    for planned in plan.steps:
        for entry in storage.listing(storage.join(plan.root, planned.manifest.folder)):
            if match := PART_FILE.fullmatch(entry.path):
                first, last = int(match[1]), int(match[2] or match[1])
                for part in range(first, last + 1):
                    found[part].append((planned.manifest.folder, entry.path, entry.size, entry.stamp))
    return found


@dataclass
class ShardAssignment:
    """Which shard of a group each sample goes into: a new one, by stage and split, when the one before is full."""

    limit: int
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bins: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def place(self, stage: str, split: str, size: int) -> int:
        """Put in a sample of `size` bytes, and return the number of its shard."""
        name = f"{stage}/{split}"
        number, bins = self.bytes[name] // self.limit, self.bins[name]
        if bins[-1:] != [number]:
            bins.append(number)
        self.bytes[name] += size
        return len(bins) - 1

    @property
    def shards(self) -> dict[str, int]:
        """How many shards there are, by "<stage>/<split>"."""
        return {name: len(bins) for name, bins in sorted(self.bins.items())}


def select_tasks(candidates: PartCandidates, group: Group) -> tuple[pa.Table, dict[str, Any]]:
    """Choose and place the tasks of a group. Returns the rows of its `Choice`, and its facts.

    Raises ConfigError where `pack.where` is no expression over the candidates, RunError for ids that are not unique.
    """
    settings, damaged, batches = candidates.settings, list[Damaged](), list[Sequence[int]]()
    shelves, tables, digests = ShardAssignment(settings.shard_mb << 20), [], []
    for parts, connection in candidates.batches(group.parts, damaged):
        check_unique(connection)
        judge(connection, settings, {"reason": settings.where})
        _place(connection, settings, shelves)
        tables.append(connection.sql(CHOSEN.format(batch=len(batches))).to_arrow_table())
        digests.append(connection.sql(DATA.format(segments=SEGMENTS, digest=DIGEST)).fetchall()[0])
        batches.append(parts)
    facts = facts_of(candidates.plan, settings)
    tars = [{**facts, "settings": {name: facts["settings"][name] for name in IN_TARS}}, [tars for _, tars in digests]]
    data = {"data": digest([data for data, _ in digests]), "tars": digest(tars), "batches": batches}
    return pa.concat_tables(tables), {**data, "shards": shelves.shards, "damaged": [str(damage) for damage in damaged]}


def _place(connection: duckdb.DuckDBPyConnection, settings: PackSettings, shelves: ShardAssignment) -> None:
    """Make `places`, the split, key and shard of each sample of a part."""
    samples = connection.sql(SAMPLES.format(val=settings.val)).to_arrow_table()
    sizes = zip(*(samples[name].to_pylist() for name in ("stage", "split", "bytes")), strict=True)
    shards = pa.array([shelves.place(stage, split, int(size)) for stage, split, size in sizes], pa.int64())
    connection.register("places", samples.append_column("shard", shards))


class PartCandidates:
    """The `candidates` of some parts after others, in one DuckDB: making its views takes longer than asking them."""

    def __init__(self, plan: Plan, settings: PackSettings) -> None:
        self.plan, self.settings = plan, settings
        self.manifests = [planned.manifest for planned in plan.steps]
        self.listed: dict[Manifest, PartFiles] = {}  # what came or went since is read all the same
        self.schemas: dict[str, pa.Schema] = {}
        self.connection: duckdb.DuckDBPyConnection | None = None

    def batches(
        self, parts: Iterable[int], damaged: list[Damaged]
    ) -> Iterator[tuple[list[int], duckdb.DuckDBPyConnection]]:
        """Yield the numbers of some parts and a connection that shows their candidates until the next ones.

        Parts follow each other until they have BATCH clips. damaged: takes what cannot be read and is left out.
        """
        held: list[int] = []
        tables: list[Tables] = []
        for part in parts:
            held.append(part)
            tables.append({manifest.name: self._rows(manifest, part, damaged) for manifest in self.manifests})
            if sum(len(of_part["extract"]) for of_part in tables) >= BATCH:
                yield held, self._show(tables)
                held, tables = [], []
        if held:
            yield held, self._show(tables)

    def of(self, parts: Sequence[int], clips: pa.Array) -> duckdb.DuckDBPyConnection:
        """Return a connection that shows the candidates of some clips of these parts."""
        tables = [{manifest.name: self._rows(manifest, part, []) for manifest in self.manifests} for part in parts]
        for of_part in tables:
            of_part["extract"] = of_part["extract"].filter(pc.is_in(of_part["extract"]["clip"], clips))
        return self._show(tables)

    def _show(self, parts: Sequence[Tables]) -> duckdb.DuckDBPyConnection:
        names = [manifest.name for manifest in self.manifests]
        tables = {name: pa.concat_tables((of[name] for of in parts), promote_options="permissive") for name in names}
        schemas = {name: table.schema for name, table in tables.items()}
        if self.connection is None or schemas != self.schemas:
            self.connection, self.schemas = views.connect_tables(self.manifests, tables), schemas
            create_candidates(self.connection, self.plan, self.settings)
        else:
            views.show_tables(self.connection, tables)
        return self.connection

    def _rows(self, manifest: Manifest, part: int, damaged: list[Damaged]) -> pa.Table:
        try:
            if manifest not in self.listed:
                self.listed[manifest] = manifest.listed()
            return manifest.read_listed(part, self.listed[manifest]).replace_schema_metadata(None)
        except FileNotFoundError:
            return manifest.schema.empty_table()
        except Damaged as damage:
            damaged.append(damage)
            return manifest.schema.empty_table()


def content_of(candidates: PartCandidates, choice: Choice, rows: pa.Table) -> Iterator[dict[str, Any]]:
    """All that the tasks of these rows of a choice are made of, in the order of batches, keys, kinds and numbers.

    Raises RunError where part files are not those any more that the choice was made from.
    """
    for batch in rows["batch"].unique().to_pylist():
        of_batch = rows.filter(pc.equal(rows["batch"], batch)).select(["clip", "kind", "number", "key", "split"])
        connection = candidates.of(choice.batches[batch], of_batch["clip"].unique())
        connection.register("chosen", of_batch)
        content = connection.sql(CONTENT.format(spoken=SPOKEN)).to_arrow_table()
        if len(content) != len(of_batch):
            parts = choice.batches[batch]
            raise RunError(f"pack: rows of parts {parts[0]} to {parts[-1]} were lost or replaced meanwhile: run again")
        yield from content.to_pylist()


def facts_of(plan: Plan, settings: PackSettings) -> dict[str, Any]:
    """What a pack follows from, but for its data."""
    texts = {kind: prompt(kind) for kind in MADE if not kind.endswith("_qa")}
    values = settings.model_dump(mode="json")
    facts = {"step": "pack", "version": VERSION, "settings": values, "prompts": texts}
    if settings.given:
        texts["given_caption"] = prompt("given_caption")
        facts["given"] = table()
    else:
        del values["given"]  # it is then as it was before there was any
    return {**facts, "before": plan.key}
