"""Which tasks of a group go into which of its shards: queries over the rows of one part at a time.

In: the committed rows of a group's parts. Out: a `Choice`, kept as `<root>/pack/group-000012-<identity>.parquet`, with
a row for each chosen task and for each clip that is in no shard. The identity follows from pack's settings and prompts
and from the part files, so a choice whose file is there need not be made again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage, views
from manifests.ledger import Damaged, digest
from pipeline.pack.candidates import SPOKEN, define
from pipeline.pack.groups import FOLDER, Group
from pipeline.pack.rules import check_unique, judge
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.prompts import prompt
from stages.samples import MADE

VERSION = 3
FACTS = b"ola.choice"  # in the footer of a choice's file
PART_FILE = re.compile(r"parts?-(\d{6,})(?:-(\d{6,}))?\.parquet")
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
SELECT {part} AS part, v.clip, concat_ws('-', v.clip, v.kind, v.number) AS id, v.kind, v.number, v.stage, p.key,
       p.split, p.shard, v.tokens, NULL::VARCHAR AS reason
FROM verdicts v JOIN places p ON p.clip = v.clip AND p.stage = v.stage WHERE v.reason IS NULL
UNION ALL BY NAME
SELECT {part} AS part, clip, array_to_string(list_sort(list_distinct(list(reason))), '; ') AS reason
FROM verdicts GROUP BY clip HAVING bool_and(reason IS NOT NULL)
ORDER BY clip, stage, key, kind, number
"""

# What the content of shards follows from, without where the media happen to lie: of all tasks, and of those in shards.
DATA = """
SELECT {digest}, {digest} FILTER (chosen) FROM (
    SELECT c.clip, c.kind, c.number, v.reason IS NULL AS chosen,
           md5(concat_ws('|', c.clip, c.kind, c.number, coalesce(v.reason, p.split), question, options::VARCHAR, answer,
                         needs, complete, informative, {segments}, frame_bytes::VARCHAR, frame_ms::VARCHAR,
                         meta::VARCHAR, uri)) AS hash
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
    by "<stage>/<split>". damaged: parts that could not be read, and are not in it.
    """

    uri: str
    data: str
    tars: str
    shards: Mapping[str, int]
    damaged: Sequence[str] = ()

    @classmethod
    def read(cls, uri: str) -> Choice:
        """Read a choice from the footer of its file."""
        with storage.open_random(uri) as file:
            return cls(uri, **json.loads(pq.read_metadata(file).metadata[FACTS]))

    def rows(self) -> pa.Table:
        """All its rows: part, clip, id, kind, number, stage, key, split, shard (within the group), tokens, reason."""
        with storage.open_random(self.uri) as file:
            return pq.read_table(file)


def choice_uris(plan: Plan, settings: PackSettings, groups: Sequence[Group]) -> list[str]:
    """Where the choice of each group lies, or will lie: two for which a choice could differ have two names."""
    base, files = digest(facts_of(plan, settings)), _files_of(plan)
    found = []
    for group in groups:
        identity = digest([base, [files[part] for part in group.parts]])
        found.append(storage.join(plan.root, f"{FOLDER}/group-{group.number:06d}-{identity}.parquet"))
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
class Shelves:
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


def choose(plan: Plan, settings: PackSettings, group: Group) -> tuple[pa.Table, dict[str, Any]]:
    """Choose and place the tasks of a group. Returns the rows of its `Choice`, and its facts.

    Raises ConfigError where `pack.where` is no expression over the candidates, RunError for ids that are not unique.
    """
    shelves, damaged = Shelves(settings.shard_mb << 20), list[Damaged]()
    tables, digests = [], []
    for part in group.parts:
        with candidates_of(plan, settings, part, damaged) as connection:
            check_unique(connection)
            judge(connection, settings, {"reason": settings.where})
            _place(connection, settings, shelves)
            tables.append(connection.sql(CHOSEN.format(part=part)).to_arrow_table())
            digests.append(connection.sql(DATA.format(segments=SEGMENTS, digest=DIGEST)).fetchall()[0])
    facts = facts_of(plan, settings)
    tars = [{**facts, "settings": {name: facts["settings"][name] for name in IN_TARS}}, [tars for _, tars in digests]]
    data = {"data": digest([data for data, _ in digests]), "tars": digest(tars)}
    return pa.concat_tables(tables), {**data, "shards": shelves.shards, "damaged": [str(damage) for damage in damaged]}


def _place(connection: duckdb.DuckDBPyConnection, settings: PackSettings, shelves: Shelves) -> None:
    """Make `places`, the split, key and shard of each sample of a part."""
    samples = connection.sql(SAMPLES.format(val=settings.val)).to_arrow_table()
    sizes = zip(*(samples[name].to_pylist() for name in ("stage", "split", "bytes")), strict=True)
    shards = pa.array([shelves.place(stage, split, int(size)) for stage, split, size in sizes], pa.int64())
    connection.register("places", samples.append_column("shard", shards))


@contextmanager
def candidates_of(
    plan: Plan, settings: PackSettings, part: int, damaged: list[Damaged] | None = None, clips: pa.Array | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection with the `candidates` of one part.

    damaged: takes what cannot be read and is left out; without it, Damaged is raised. clips: if not all are wanted.
    """
    tables = {}
    for planned in plan.steps:
        with suppress(FileNotFoundError):
            try:
                tables[planned.manifest.name] = planned.manifest.read(part)
            except Damaged as damage:
                if damaged is None:
                    raise
                damaged.append(damage)
    if clips is not None and "extract" in tables:
        tables["extract"] = tables["extract"].filter(pc.is_in(tables["extract"]["clip"], clips))
    with views.of_tables([planned.manifest for planned in plan.steps], tables) as connection:
        define(connection, plan, settings)
        yield connection


def content_of(plan: Plan, settings: PackSettings, rows: pa.Table) -> Iterator[dict[str, Any]]:
    """All that the tasks of these rows of a choice are made of, in the order of parts, keys, kinds and numbers."""
    for part in rows["part"].unique().to_pylist():
        of_part = rows.filter(pc.equal(rows["part"], part)).select(["clip", "kind", "number", "key", "split"])
        clips = of_part["clip"].unique()
        with candidates_of(plan, settings, part, clips=clips) as connection:
            connection.register("chosen", of_part)
            yield from connection.sql(CONTENT.format(spoken=SPOKEN)).to_arrow_table().to_pylist()


def facts_of(plan: Plan, settings: PackSettings) -> dict[str, Any]:
    """What a pack follows from, but for its data."""
    texts = {kind: prompt(kind) for kind in MADE if not kind.endswith("_qa")}
    facts = {"step": "pack", "version": VERSION, "settings": settings.model_dump(mode="json"), "prompts": texts}
    return {**facts, "before": plan.key}
