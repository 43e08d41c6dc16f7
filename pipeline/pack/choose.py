"""Which tasks go into which shard: one query over the manifests, the same answer whatever order they were made in.

The candidates are `pipeline.pack.candidates`; rules keep some out, and what is left is placed in shards by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from manifests import views
from manifests.ledger import DROPPED, OK, Damaged
from manifests.records import Outcome
from pipeline.errors import ConfigError, RunError
from pipeline.keys import Facts, key_for, load
from pipeline.pack.candidates import SPOKEN, define
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.prompts import prompt
from pipeline.step import default_values
from stages.samples import MADE

VERSION = 2
UNIQUE = ("ingest", "split", "extract", "transcribe", "screen", "caption", "ask", "verify")

# Readers take these for media, or for the end of a turn, wherever they stand.
TAGS = r"<(image|speech)>|<\|\w+\|>"

# The first rule that keeps a candidate out is its reason.
VERDICTS = """
CREATE TEMP TABLE verdicts AS
WITH ruled AS (
    SELECT *, CASE WHEN text IS NULL AND kind IN {spoken} THEN 'no transcript'
                   WHEN NOT has_sound AND stage = 'omni' THEN 'no sound'
                   WHEN coalesce(answer, '') = '' THEN 'no answer'
                   WHEN contains(answer, '<') AND regexp_matches(answer, '{tags}')
                     OR question IS NOT NULL AND regexp_matches(concat_ws(' ', question, options), '{tags}')
                   THEN 'a tag in its text'
                   WHEN kind = 'cross_modal_qa' AND needs IS NULL THEN 'not verified'
                   WHEN kind = 'cross_modal_qa' AND NOT list_contains({needs}, needs) THEN 'needs ' || needs
                   WHEN tokens > {context} THEN 'over pack.context'
              END AS rule
    FROM candidates)
SELECT clip, video, seconds, stage, kind, number, tokens, {reasons} FROM ruled
"""
JUDGED = "CASE WHEN rule IS NOT NULL THEN rule WHEN NOT coalesce(({where}), false) THEN 'pack.where' END AS {name}"

CAPPED = """
CREATE OR REPLACE TEMP TABLE verdicts AS
SELECT v.* REPLACE (CASE WHEN {name} IS NULL AND cap < row_number() OVER (
                              PARTITION BY clip, v.kind, {name} IS NULL ORDER BY number)
                         THEN 'over pack.caps' ELSE {name} END AS {name})
FROM verdicts v JOIN kinds USING (kind)
"""

# Samples in the order of their keys, which is by video and time; a new shard when the one before is full. Videos,
# not clips, fall to train or val: by their id, which is a digest and so evenly spread.
PLACES = """
CREATE TEMP TABLE places AS
WITH samples AS (
    SELECT DISTINCT v.stage, v.clip || '-' || v.stage AS key, v.clip,
           CASE WHEN ('0x' || v.video[1:8])::UBIGINT < {val} * 4294967296 THEN 'val' ELSE 'train' END AS split,
           CASE v.stage WHEN 'image' THEN f.frame_bytes[len(f.frame_bytes) // 2 + 1]
                        WHEN 'video' THEN list_sum(f.frame_bytes)
                        ELSE list_sum(f.frame_bytes) + coalesce(f.sound.size, 0) END + 4096 AS bytes
    FROM verdicts v JOIN extract f ON f.clip = v.clip AND f.status = 'ok' WHERE v.reason IS NULL),
filled AS (SELECT *, (sum(bytes) OVER (PARTITION BY stage, split ORDER BY key) - bytes) // {limit} AS bin FROM samples)
SELECT stage, clip, key, split, dense_rank() OVER (PARTITION BY stage, split ORDER BY bin) - 1 AS shard FROM filled
"""

# What a sample tells of a segment: scores and flags of a later version are no new content.
SEGMENTS = """list_transform(segments, lambda s: struct_pack(
    "start" := s.start, "end" := s."end", "text" := s.text, words := s.words))::VARCHAR"""

CHOSEN = """
SELECT c.* REPLACE (CASE WHEN c.kind IN {spoken} THEN c.segments END AS segments),
       p.key, p.split, printf('%s-%06d', p.split, p.shard) AS shard
FROM candidates c JOIN verdicts v USING (clip, kind, number) JOIN places p ON p.clip = c.clip AND p.stage = c.stage
WHERE v.reason IS NULL ORDER BY c.stage, p.split, p.key, c.kind, c.number
"""

# What the content of the shards follows from, without where the media happen to lie.
DATA = """
SELECT sha256(coalesce(string_agg(md5(concat_ws('|', c.clip, c.kind, c.number, coalesce(v.reason, p.split || p.shard),
                                                question, options::VARCHAR, answer, needs, complete, informative,
                                                {segments}, frame_bytes::VARCHAR, frame_ms::VARCHAR,
                                                meta::VARCHAR, uri)),
                                  '' ORDER BY c.clip, c.kind, c.number), ''))
FROM candidates c JOIN verdicts v USING (clip, kind, number)
LEFT JOIN places p ON p.clip = c.clip AND p.stage = c.stage
"""

# Of a clip that is in no shard, why each of its tasks was left out.
REASONS = """
SELECT clip, CASE WHEN bool_or(reason IS NULL) THEN ''
                  ELSE array_to_string(list_sort(list_distinct(list(reason))), '; ') END
FROM verdicts GROUP BY clip ORDER BY clip
"""


@dataclass(frozen=True)
class Selection:
    """What is to be packed: one row per chosen task (`shard` names its tar), the key of the set, and all outcomes.

    facts: what the key stands for. damaged: parts that could not be read, and are not in it.
    """

    key: str
    facts: Facts
    chosen: pa.Table
    reasons: dict[str, str]
    damaged: tuple[Damaged, ...] = ()

    @property
    def shards(self) -> list[tuple[str, str]]:
        """(stage, shard) of every shard to be written, in order."""
        rows = self.chosen.select(["stage", "shard"]).group_by(["stage", "shard"]).aggregate([]).to_pylist()
        return sorted((row["stage"], row["shard"]) for row in rows)

    def outcomes(self, packed: dict[str, tuple[object, ...]]) -> list[Outcome]:
        """One outcome per clip: its rows of the shards, or why it has none."""
        return [
            Outcome(clip, OK, 0.0, packed[clip]) if clip in packed else Outcome(clip, DROPPED, 0.0, (), reason)
            for clip, reason in self.reasons.items()
        ]


def select(plan: Plan, settings: PackSettings) -> Selection:
    """Choose and place tasks. Raises ConfigError where `pack.where` is no expression over the candidates.

    Parts that cannot be read are left out, and named in the selection.
    """
    damaged: list[Damaged] = []
    try:
        return _selected(views.connect(plan.root, plan.manifests, {}, damaged), plan, settings, damaged)
    except duckdb.Error:
        damaged.clear()
        connection = views.connect(plan.root, plan.manifests, {}, damaged, checked=True)
        return _selected(connection, plan, settings, damaged)


def _selected(
    connection: duckdb.DuckDBPyConnection, plan: Plan, settings: PackSettings, damaged: list[Damaged]
) -> Selection:
    define(connection, plan, settings)
    check_unique(connection)
    judge(connection, settings, {"reason": settings.where})
    connection.execute(PLACES.format(val=settings.val, limit=settings.shard_mb << 20))
    data = connection.sql(DATA.format(segments=SEGMENTS)).fetchall()[0][0]
    facts = {**facts_of(plan, settings), "data": data}
    defaults = {"settings": default_values(type(settings))}
    reasons = connection.sql(REASONS)
    return Selection(
        key=key_for(facts, defaults, load(plan.root).facts),
        facts=facts,
        chosen=connection.sql(CHOSEN.format(spoken=SPOKEN)).to_arrow_table(),
        reasons=dict(reasons.fetchall()),
        damaged=tuple(damaged),
    )


def facts_of(plan: Plan, settings: PackSettings) -> dict[str, Any]:
    """What a pack follows from, but for its data."""
    texts = {kind: prompt(kind) for kind in MADE if not kind.endswith("_qa")}
    facts = {"step": "pack", "version": VERSION, "settings": settings.model_dump(mode="json"), "prompts": texts}
    return {**facts, "before": plan.key}


def check_unique(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise RunError if two records of a step have one id: joins would double the tasks of both."""
    for step in UNIQUE:
        twice = f"SELECT id FROM {step} WHERE status = 'ok' GROUP BY id HAVING count(*) > 1"
        many, example = connection.sql(f"SELECT count(*), min(id) FROM ({twice})").fetchall()[0]
        if many:
            raise RunError(
                f"pack: {many} ids of step '{step}' stand in more than one row, as {example}: nothing was packed; "
                "run again, so that each video has one source, or `ola run --retry`"
            )


def check_where(plan: Plan, settings: PackSettings) -> None:
    """Raise the ConfigError of `pack.where` now, before the steps have run for hours."""
    with duckdb.connect() as connection:
        define(connection, plan, settings)
        judge(connection, settings, {"reason": settings.where})


def judge(connection: duckdb.DuckDBPyConnection, settings: PackSettings, wheres: Mapping[str, str]) -> None:
    """Make `verdicts`, where each candidate has the reason that keeps it out, or null, in a column for each `where`.

    Raises ConfigError for one that is no condition over the candidates.
    """
    facts = {"spoken": SPOKEN, "tags": TAGS, "needs": list(settings.cross_modal_needs), "context": settings.context}
    reasons = ", ".join(JUDGED.format(where=where, name=name) for name, where in wheres.items())
    try:
        connection.execute(VERDICTS.format(**facts, reasons=reasons))
    except (duckdb.IOException, duckdb.InvalidInputException):
        raise  # of a file, and not of the expression
    except duckdb.Error as error:
        where = list(wheres.values())[-1]
        columns = [name for (name, *_) in connection.sql("DESCRIBE candidates").fetchall()]
        what = " ".join(str(error).split())
        known = ", ".join(columns)
        raise ConfigError(f"pack.where: {where!r} does not do: {what} (columns: {known})") from error
    for name in wheres if settings.caps else ():
        connection.execute(CAPPED.format(name=name))
