"""Rules of pack: exclude candidates with a reason, and check conditions before anything is packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from pipeline.errors import ConfigError, RunError
from pipeline.pack.balance import passing_clips
from pipeline.pack.candidates import SPOKEN, create_candidates
from pipeline.pack.presets import preset_condition
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.steps.needs import evidence_fault_sql

UNIQUE = ("ingest", "split", "extract", "transcribe", "screen", "caption", "ask", "verify")

# Readers replace these by media, or end a turn at them, anywhere in a text.
TAGS = r"<(image|speech)>|<\|\w+\|>"

# The reason of a candidate is the first rule that excludes it.
VERDICTS = """
CREATE OR REPLACE TEMP TABLE verdicts AS
WITH ruled AS (
    SELECT *, CASE WHEN text IS NULL AND kind IN {spoken} THEN 'no transcript'
                   WHEN text = '' AND kind IN {spoken} THEN 'nothing said'
                   WHEN NOT has_sound AND stage = 'omni' THEN 'no sound'
                   WHEN coalesce(answer, '') = '' THEN 'no answer'
                   WHEN contains(answer, '<') AND regexp_matches(answer, '{tags}')
                     OR question IS NOT NULL AND regexp_matches(concat_ws(' ', question, options), '{tags}')
                   THEN 'a tag in its text'
                   WHEN kind = 'cross_modal_qa' AND needs IS NULL THEN 'not verified'
                   WHEN kind = 'cross_modal_qa' AND NOT list_contains({needs}, needs) THEN 'needs ' || needs{evidence}
                   WHEN tokens > {context} THEN 'over pack.context'{licence}{preset}
              END AS rule
    FROM candidates)
SELECT {columns}, {reasons} FROM ruled
"""
LICENCE = """
                   WHEN NOT list_contains({licences}, licence)
                   THEN CASE licence WHEN 'unknown' THEN 'licence unknown' ELSE 'licence' END"""
EVIDENCE = """
                   WHEN ({fault}) IS NOT NULL THEN {fault}"""
PRESET = """
                   WHEN NOT coalesce(({condition}), false) THEN 'pack.preset'"""
COLUMNS = ("clip", "video", "seconds", "stage", "kind", "number", "tokens")  # of `verdicts`
JUDGED = """
CASE WHEN rule IS NOT NULL THEN rule WHEN list_contains({without}, kind) THEN 'pack.given'
     WHEN NOT coalesce(({where}), false) THEN 'pack.where' END AS {name}"""

CAPPED = """
CREATE OR REPLACE TEMP TABLE verdicts AS
SELECT v.* REPLACE (CASE WHEN {name} IS NULL AND cap < row_number() OVER (
                              PARTITION BY clip, v.kind, {name} IS NULL ORDER BY number)
                         THEN 'over pack.caps' ELSE {name} END AS {name})
FROM verdicts v JOIN kinds USING (kind)
"""


def check_unique(connection: duckdb.DuckDBPyConnection, steps: Sequence[str] = UNIQUE) -> None:
    """Raise RunError if two records of a step have the same id: joins would duplicate their tasks."""
    twice = " UNION ALL ".join(
        f"SELECT '{step}', count(*), min(id) FROM "
        f"(SELECT id FROM {step} WHERE status = 'ok' GROUP BY id HAVING count(*) > 1) HAVING count(*) > 0"
        for step in steps
    )
    for step, many, example in connection.sql(twice).fetchall():
        raise RunError(
            f"pack: {many} ids of step '{step}' are in more than one row, such as {example}: nothing was packed; "
            "run again, so that each video has one source, or `ola run --retry`"
        )


def check_where(plan: Plan, settings: PackSettings) -> None:
    """Raise the ConfigError of `pack.where` or `pack.balance.by` early, before the steps run for hours."""
    with duckdb.connect() as connection:
        create_candidates(connection, plan, settings)
        judge_candidates(connection, settings, {"reason": settings.where})
        passing_clips(connection, settings.balance)


def judge_candidates(
    connection: duckdb.DuckDBPyConnection,
    settings: PackSettings,
    wheres: Mapping[str, str],
    without: Mapping[str, Sequence[str]] = {},
    columns: Sequence[str] = (),
) -> None:
    """Create the table `verdicts` with the reason that excludes each candidate, or null, in a column for each `where`.

    without: kinds of task that a column excludes. columns: of the candidates, besides `COLUMNS`. Raises ConfigError for
    a `where` that is no condition over the candidates.
    """
    facts: dict[str, Any] = {"columns": ", ".join((*COLUMNS, *columns))}
    facts |= {"spoken": SPOKEN, "tags": TAGS, "needs": list(settings.cross_modal_needs), "context": settings.context}
    facts["licence"] = LICENCE.format(licences=list(settings.licence)) if settings.licence else ""
    facts["evidence"] = ""
    if settings.evidence == "found":
        fault = evidence_fault_sql(settings.agreement, "evidence", "agree_spans", "agree_rest")
        facts["evidence"] = EVIDENCE.format(fault=fault)
    facts["preset"] = _preset_rule(connection, settings)
    reasons = ", ".join(
        JUDGED.format(where=where, name=name, without=f"{list(without.get(name, ()))}::VARCHAR[]")
        for name, where in wheres.items()
    )
    try:
        connection.execute(VERDICTS.format(**facts, reasons=reasons))
    except (duckdb.IOException, duckdb.InvalidInputException):
        raise  # a fault of a file, not of the expression
    except duckdb.Error as error:
        where = list(wheres.values())[-1]
        reason = " ".join(str(error).split())
        known = ", ".join(_column_names(connection))
        raise ConfigError(f"pack.where: expected a condition, got {where!r}: {reason} (columns: {known})") from error
    for name in wheres if settings.caps else ():
        connection.execute(CAPPED.format(name=name))


def _preset_rule(connection: duckdb.DuckDBPyConnection, settings: PackSettings) -> str:
    """Return the branch of VERDICTS for `pack.preset`; "" for `none`."""
    if settings.preset == "none":
        return ""
    return PRESET.format(condition=preset_condition(settings.preset, _column_names(connection)))


def _column_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name, *_) in connection.sql("DESCRIBE candidates").fetchall()]
