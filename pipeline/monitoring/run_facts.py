"""The counts of a run for its report and its card: the funnel, seconds and tokens by step, and what questions need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from manifests import views
from manifests.ledger import Counts
from manifests.records import PLURALS, Question, Source, Video
from pipeline.monitoring.funnel import group_reasons, read_funnel
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.steps.needs import needs_sql

NEEDED = ("both", "audio", "video", "text", "none-agrees")

NEEDS_BY_KIND = """
SELECT q.kind, {needs} AS needs, count(*)
FROM ask q JOIN verify v ON v.question = q.id AND v.status = 'ok' WHERE q.status = 'ok' GROUP BY ALL ORDER BY ALL
"""
PACKED = """
SELECT count(*), count(DISTINCT p.video), coalesce(sum(p.tasks), 0), coalesce(sum(p.tokens), 0),
       coalesce(sum(c.end_ms - c.start_ms), 0) / 3.6e6
FROM (SELECT clip, any_value(video) AS video, count(*) AS tasks, sum(tokens) AS tokens
      FROM pack WHERE status = 'ok' GROUP BY clip) p
LEFT JOIN split c ON c.id = p.clip AND c.status = 'ok'
"""
INGESTED = "SELECT count(*), coalesce(sum(duration), 0) / 3600 FROM ingest WHERE status = 'ok'"


@dataclass(frozen=True)
class StepFacts:
    """One step of the funnel. unit: what its inputs are. tokens: asked, read and written; empty without a model."""

    name: str
    unit: str
    counts: Counts
    tokens: Mapping[str, int]

    def reasons(self) -> list[tuple[str, int]]:
        """Return the reasons of dropped and failed inputs, with those that differ only in numbers as one."""
        merged = group_reasons(self.counts.reasons)
        return sorted(merged.items(), key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True)
class RunFacts:
    """The steps of a run, what it packed, damage and violations, and counts of questions by kind and need.

    packed: videos, hours, clips, tasks and tokens in the shards, each with that of the whole run where there is one.
    """

    steps: Sequence[StepFacts]
    packed: Mapping[str, tuple[float, float | None]]
    faults: Sequence[str]
    needs: Mapping[str, Mapping[str, int]]


def read_facts(connection: duckdb.DuckDBPyConnection, plan: Plan, settings: PackSettings) -> RunFacts:
    """Read the facts of a run. connection: with its views. settings: they decide what a question needs."""
    counts, tokens, faults = read_funnel(plan)
    units = {planned.step.name: _unit(planned.before.record) for planned in plan.steps}
    steps = [StepFacts(name, units.get(name, "clips"), total, tokens.get(name, {})) for name, total in counts]
    return RunFacts(steps, _read_packed(connection), faults, needs_by_kind(connection, settings))


def _unit(record: type) -> str:
    if record in (Source, Video):
        return "videos"
    return PLURALS[Question] if record is Question else "clips"


def _read_packed(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[float, float | None]]:
    """Return what is in the run's own shards; empty before it packed."""
    if not {"pack", "ingest", "split"} <= views.names(connection):
        return {}
    clips, videos, tasks, tokens, hours = connection.sql(PACKED).fetchall()[0]
    all_videos, all_hours = connection.sql(INGESTED).fetchall()[0]
    (all_clips,) = connection.sql("SELECT count(*) FROM split WHERE status = 'ok'").fetchall()[0]
    return {
        "videos": (videos, all_videos), "hours": (hours, all_hours), "clips": (clips, all_clips),
        "tasks": (tasks, None), "tokens": (tokens, None),
    }  # fmt: skip


def needs_by_kind(connection: duckdb.DuckDBPyConnection, settings: PackSettings) -> dict[str, dict[str, int]]:
    """Count questions by kind and by what they need, by the judges of `settings`; those they did not judge are out."""
    if not {"ask", "verify"} <= views.names(connection):
        return {}
    found: dict[str, dict[str, int]] = {}
    query = NEEDS_BY_KIND.format(needs=needs_sql(settings.agreement, "v.", settings.judges))
    for kind, needs, count in connection.sql(query).fetchall():
        if needs is not None:
            found.setdefault(kind, dict.fromkeys(NEEDED, 0))[needs] = count
    return found
