"""Assign the tasks of a group to its shards, with queries over the rows of some parts at a time.

In: the committed rows of a group's parts. Out: a `Choice`, stored as `<root>/pack/group-000012-<identity>.arrow`, with
a row for each chosen task and for each clip that is in no shard. The identity is a digest of pack's settings and
prompts and of the part files, so an existing choice need not be made again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.ledger import Damaged, digest
from manifests.parquet_files import raise_damaged
from pipeline.errors import RunError
from pipeline.pack.candidates import LEAKED_COLUMNS, SPOKEN
from pipeline.pack.duplicate_rows import facts_by_part, read_duplicates
from pipeline.pack.facts import pack_facts
from pipeline.pack.group_rules import judge_group
from pipeline.pack.groups import FOLDER, Group
from pipeline.pack.part_candidates import PartCandidates
from pipeline.pack.settings import PackSettings
from pipeline.pack.shortcuts import hidden_columns
from pipeline.plan import Plan

FACTS = b"ola.choice"  # in the footer of a choice's file
PART_FILE = re.compile(r"parts?-(\d{6,})(?:-(\d{6,}))?\.parquet")
IN_TARS = ("shard_mb", "val")  # settings that change the bytes of shards, apart from the choice of tasks

# Samples in the order of their keys, which is by video and time. Whole videos go to train or val, by their id, which is
# a digest and so evenly distributed; videos with clips alike by the id of the first of them.
SAMPLES = """
SELECT DISTINCT v.stage, v.clip || '-' || v.stage AS key, v.clip,
       CASE WHEN ('0x' || coalesce(d.family, v.video)[1:8])::UBIGINT < {val} * 4294967296
            THEN 'val' ELSE 'train' END AS split,
       CASE v.stage WHEN 'image' THEN f.frame_bytes[len(f.frame_bytes) // 2 + 1]
                    WHEN 'video' THEN list_sum(f.frame_bytes)
                    ELSE list_sum(f.frame_bytes) + coalesce(f.sound.size, 0) END + 4096 AS bytes
FROM verdicts v JOIN extract f ON f.clip = v.clip AND f.status = 'ok' LEFT JOIN duplicates d ON d.clip = v.clip
WHERE v.reason IS NULL
ORDER BY v.stage, split, key
"""

# The fields of a segment in a sample, without scores and flags, which may change without new content.
SEGMENTS = """list_transform(segments, lambda s: struct_pack(
    "start" := s.start, "end" := s."end", "text" := s.text, words := s.words))::VARCHAR"""

# A row for each task in a shard, and for each clip in no shard, with the reasons of its tasks.
CHOSEN = """
SELECT {batch} AS batch, v.clip, concat_ws('-', v.clip, v.kind, v.number) AS id, v.kind, v.number, v.stage, p.key,
       p.split, p.shard, v.tokens, NULL::VARCHAR AS reason
FROM verdicts v JOIN places p ON p.clip = v.clip AND p.stage = v.stage WHERE v.reason IS NULL
UNION ALL BY NAME
SELECT {batch} AS batch, clip, array_to_string(list_sort(list_distinct(list(reason))), '; ') AS reason
FROM verdicts GROUP BY clip HAVING bool_and(reason IS NOT NULL)
ORDER BY clip, stage, key, kind, number
"""

# Digests of the content of all tasks, and of those in shards, without the places of the media.
DATA = """
SELECT {digest}, {digest} FILTER (chosen) FROM (
    SELECT c.clip, c.kind, c.number, v.reason IS NULL AS chosen,
           md5(concat_ws('|', c.clip, c.kind, c.number, coalesce(v.reason, p.split), question, options::VARCHAR, answer,
                         needs, complete, informative, {segments}, frame_bytes::VARCHAR, frame_ms::VARCHAR,
                         meta::VARCHAR, uri, task_origin, task_field, nullif(made_by, ''),
                         CASE WHEN len(evidence) > 0 THEN evidence::VARCHAR END)) AS hash
    FROM candidates c JOIN verdicts v USING (clip, kind, number)
    LEFT JOIN places p ON p.clip = c.clip AND p.stage = c.stage)
"""
DIGEST = "string_agg(hash, '' ORDER BY clip, kind, number)"

# The content of the tasks of some samples.
CONTENT = """
SELECT c.* EXCLUDE ({scores})
       REPLACE (CASE WHEN c.kind IN {spoken} THEN c.segments END AS segments), p.key, p.split
FROM candidates c JOIN chosen p USING (clip, kind, number) ORDER BY p.key, c.kind, c.number
"""


@dataclass(frozen=True)
class Choice:
    """The chosen tasks of a group.

    uri: of the file with its rows. data, tars: digests of all its tasks, and of the contents of its shards. shards: how
    many, by "<stage>/<split>". batches: the parts that were read together. damaged: parts that could not be read and
    are left out.
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
    def to_bytes(rows: pa.Table, facts: Mapping[str, Any]) -> bytes:
        """Make the file of a choice: compressed Arrow, with the facts in the schema."""
        table = rows.replace_schema_metadata({FACTS: json.dumps(facts)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue().to_pybytes())


def choice_uris(plan: Plan, settings: PackSettings, groups: Sequence[Group]) -> list[str]:
    """Return the uri of each group's choice; the name changes with all that the choice depends on."""
    base, files = digest(pack_facts(plan, settings)), _part_files(plan)
    duplicates = facts_by_part(read_duplicates(plan))
    found = []
    for group in groups:
        alike = [duplicates[part] for part in group.parts if part in duplicates]
        identity = digest([base, [files[part] for part in group.parts], *alike])
        found.append(storage.join(plan.root, f"{FOLDER}/group-{group.number:06d}-{identity}.arrow"))
    return found


def _part_files(plan: Plan) -> Mapping[int, list[Any]]:
    """Return the files with the rows of each part, with size and stamp."""
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
    """Assigns samples to shards: a new shard, by stage and split, when the one before is full."""

    limit: int
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bins: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def assign(self, stage: str, split: str, size: int) -> int:
        """Assign a sample of `size` bytes. Returns the number of its shard."""
        name = f"{stage}/{split}"
        number, bins = self.bytes[name] // self.limit, self.bins[name]
        if bins[-1:] != [number]:
            bins.append(number)
        self.bytes[name] += size
        return len(bins) - 1

    @property
    def shards(self) -> dict[str, int]:
        """Number of shards by "<stage>/<split>"."""
        return {name: len(bins) for name, bins in sorted(self.bins.items())}


def select_tasks(candidates: PartCandidates, group: Group) -> tuple[pa.Table, dict[str, Any]]:
    """Choose and place the tasks of a group. Returns the rows and the facts of its `Choice`.

    Raises ConfigError where `pack.where` is no expression over the candidates, RunError for ids that are not unique.
    """
    settings, damaged, batches = candidates.settings, list[Damaged](), list[Sequence[int]]()
    assignment, tables, digests = ShardAssignment(settings.shard_mb << 20), [], []
    for parts, connection in judge_group(candidates, group, damaged):
        _assign_shards(connection, settings, assignment)
        tables.append(connection.sql(CHOSEN.format(batch=len(batches))).to_arrow_table())
        digests.append(connection.sql(DATA.format(segments=SEGMENTS, digest=DIGEST)).fetchall()[0])
        batches.append(parts)
    facts = pack_facts(candidates.plan, settings)
    tars = [{**facts, "settings": {name: facts["settings"][name] for name in IN_TARS}}, [tars for _, tars in digests]]
    data = {"data": digest([data for data, _ in digests]), "tars": digest(tars), "batches": batches}
    return pa.concat_tables(tables), {
        **data,
        "shards": assignment.shards,
        "damaged": [str(damage) for damage in damaged],
    }


def _assign_shards(connection: duckdb.DuckDBPyConnection, settings: PackSettings, assignment: ShardAssignment) -> None:
    """Create the table `places`: the split, key and shard of each sample of a part."""
    samples = connection.sql(SAMPLES.format(val=settings.val)).to_arrow_table()
    sizes = zip(*(samples[name].to_pylist() for name in ("stage", "split", "bytes")), strict=True)
    shards = pa.array([assignment.assign(stage, split, int(size)) for stage, split, size in sizes], pa.int64())
    connection.register("places", samples.append_column("shard", shards))


def read_content(candidates: PartCandidates, choice: Choice, rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the content of the tasks in these rows of a choice, in the order of batches, keys, kinds and numbers.

    Raises RunError where part files changed since the choice was made.
    """
    for batch in rows["batch"].unique().to_pylist():
        of_batch = rows.filter(pc.equal(rows["batch"], batch)).select(["clip", "kind", "number", "key", "split"])
        connection = candidates.of_clips(choice.batches[batch], of_batch["clip"].unique())
        connection.register("chosen", of_batch)
        leaked = LEAKED_COLUMNS if candidates.settings.benchmarks else ()
        scores = ("licence", *hidden_columns(candidates.plan), *leaked)
        content = connection.sql(CONTENT.format(spoken=SPOKEN, scores=", ".join(scores))).to_arrow_table()
        if len(content) != len(of_batch):
            parts = choice.batches[batch]
            raise RunError(f"pack: rows of parts {parts[0]} to {parts[-1]} were lost or replaced meanwhile: run again")
        yield from content.to_pylist()
