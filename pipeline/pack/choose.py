"""Which tasks go into which shard: one query over the manifests, the same answer whatever order they were made in.

`candidates` has one row per clip and kind of task, with everything a `where` may ask for:

    clip, video, uri, meta, kind, stage, start_ms, end_ms, seconds, width, height, frames, has_sound, tokens,
    motion, frozen, black, silence, loudness                        of the clip (see `ola sql ROOT "DESCRIBE split"`)
    text, words, coverage, language, origin, word_times             of its transcript
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from manifests import views
from manifests.ledger import DROPPED, OK, digest
from manifests.records import Outcome
from manifests.schema import manifest_schema
from pipeline.errors import ConfigError
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.prompts import prompt
from stages.samples import KINDS, media_tokens, text_tokens

VERSION = 1

CANDIDATES = """
CREATE TEMP TABLE candidates AS
SELECT f.id AS clip, v.id AS video, v.uri, v.meta::JSON AS meta, k.kind, k.stage, c.start_ms, c.end_ms,
       (c.end_ms - c.start_ms) / 1000 AS seconds, f.width, f.height, len(f.frame_ms) AS frames,
       f.sound IS NOT NULL AS has_sound,
       media_tokens(f.width, f.height, len(f.frame_ms), CASE WHEN f.sound IS NOT NULL
                    THEN (c.end_ms - c.start_ms) / 1000 ELSE 0 END) + text_tokens(coalesce(t.text, '')) AS tokens,
       c.motion, c.frozen, c.black, c.silence, c.loudness,
       t.text, t.words, t.coverage, t.language, t.origin, t.word_times, t.track, t.segments,
       f.frames AS pictures, f.frame_bytes, f.frame_ms, f.sound
FROM extract f
JOIN split c ON c.id = f.clip AND c.status = 'ok'
JOIN ingest v ON v.id = c.video AND v.status = 'ok'
JOIN kinds k ON true
LEFT JOIN transcribe t ON t.clip = c.id AND t.status = 'ok'
WHERE f.status = 'ok'
"""

# The first rule that keeps a candidate out is its reason.
VERDICTS = """
CREATE TEMP TABLE verdicts AS
SELECT *, clip || '-' || stage AS key,
       CASE WHEN text IS NULL THEN 'no transcript'
            WHEN NOT has_sound THEN 'no sound'
            WHEN tokens > {context} THEN 'over pack.context'
            WHEN NOT coalesce(({where}), false) THEN 'pack.where'
       END AS reason
FROM candidates
"""

# Samples in the order of their keys, which is by video and time; a new shard when the one before is full. Videos,
# not clips, fall to train or val: by their id, which is a digest and so evenly spread.
PLACES = """
CREATE TEMP TABLE places AS
WITH samples AS (
    SELECT stage, key, any_value(CASE WHEN ('0x' || video[1:8])::UBIGINT < {val} * 4294967296
           THEN 'val' ELSE 'train' END) AS split,
           any_value(list_sum(frame_bytes) + coalesce(sound.size, 0)) + 4096 AS bytes
    FROM verdicts WHERE reason IS NULL GROUP BY ALL),
filled AS (SELECT *, (sum(bytes) OVER (PARTITION BY stage, split ORDER BY key) - bytes) // {limit} AS bin FROM samples)
SELECT stage, key, split, dense_rank() OVER (PARTITION BY stage, split ORDER BY bin) - 1 AS shard FROM filled
"""

CHOSEN = """
SELECT v.*, p.split, printf('%s-%06d', p.split, p.shard) AS shard
FROM verdicts v JOIN places p USING (stage, key) WHERE v.reason IS NULL ORDER BY v.stage, p.split, key, kind
"""

# What the content of the shards follows from, without where the media happen to lie.
DATA = """
SELECT sha256(coalesce(string_agg(md5(concat_ws('|', key, kind, coalesce(reason, shard_name), text, segments::VARCHAR,
                                                frame_bytes::VARCHAR, frame_ms::VARCHAR, meta::VARCHAR, uri))
              , '' ORDER BY key, kind), ''))
FROM (SELECT v.*, p.split || p.shard AS shard_name FROM verdicts v LEFT JOIN places p USING (stage, key))
"""


REASONS = "SELECT clip, first(coalesce(reason, '') ORDER BY kind) FROM verdicts GROUP BY clip ORDER BY clip"


@dataclass(frozen=True)
class Selection:
    """What is to be packed: one row per chosen task (`shard` names its tar), the key of the set, and all outcomes."""

    key: str
    chosen: pa.Table
    reasons: dict[str, str]

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
    """Choose and place tasks. Raises ConfigError where `pack.where` is no expression over the candidates."""
    connection = views.connect(plan.root, plan.manifests, {})
    _prepare(connection, plan)
    connection.execute(CANDIDATES)
    _judge(connection, settings)
    connection.execute(PLACES.format(val=settings.val, limit=settings.shard_mb << 20))
    data = connection.sql(DATA).fetchall()[0][0]
    texts = {kind: prompt(kind) for kind in KINDS}
    facts = {"step": "pack", "version": VERSION, "settings": settings.model_dump(), "prompts": texts}
    reasons = connection.sql(REASONS)
    return Selection(
        key=digest({**facts, "before": plan.key, "data": data}),
        chosen=connection.sql(CHOSEN).to_arrow_table(),
        reasons=dict(reasons.fetchall()),
    )


def check_where(plan: Plan, settings: PackSettings) -> None:
    """Raise the ConfigError of `pack.where` now, before the steps have run for hours."""
    with duckdb.connect() as connection:
        _prepare(connection, plan)
        connection.execute(CANDIDATES)
        _judge(connection, settings)


def _prepare(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Names that the query needs even where a step has no part yet, and Ola's arithmetic."""
    made = views.names(connection)
    for planned in plan.steps:
        if planned.manifest.name not in made:
            connection.register(planned.manifest.name, manifest_schema(planned.manifest.record).empty_table())
    rows = ", ".join(f"({views.quoted(kind)}, {views.quoted(stage)})" for kind, stage in KINDS.items())
    connection.execute(f"CREATE TEMP TABLE kinds AS SELECT * FROM (VALUES {rows}) AS t(kind, stage)")
    connection.create_function("media_tokens", media_tokens, ["BIGINT", "BIGINT", "BIGINT", "DOUBLE"], "BIGINT")
    connection.create_function("text_tokens", text_tokens, ["VARCHAR"], "BIGINT")


def _judge(connection: duckdb.DuckDBPyConnection, settings: PackSettings) -> None:
    try:
        connection.execute(VERDICTS.format(context=settings.context, where=settings.where))
    except duckdb.Error as error:
        columns = [name for (name, *_) in connection.sql("DESCRIBE candidates").fetchall()]
        what = " ".join(str(error).split())
        known = ", ".join(columns)
        raise ConfigError(f"pack.where: {settings.where!r} does not do: {what} (columns: {known})") from error
