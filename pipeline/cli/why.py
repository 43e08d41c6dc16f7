"""`ola why`: show the rows of every step about a record, its ancestors and its descendants."""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb
from rich.console import Console

from manifests import storage, views
from manifests.json_values import json_value
from manifests.ledger import Damaged
from pipeline.cli.damaged import collect_damage
from pipeline.cli.history_tree import history_trees
from pipeline.cli.tables import output_width
from pipeline.config import load_run
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.run import all_manifests
from pipeline.steps.needs import agreement_sql, evidence_fault_sql
from pipeline.steps.span_views import SPAN_VIEWS
from stages.catalogue import current

EVIDENCE_FAULTS = """
SELECT id, {fault} FROM (
    SELECT v.id, q.times, {spans} AS spans, {rest} AS rest
    FROM verify v JOIN ask q ON q.id = v.question AND q.status = 'ok'
    WHERE v.status = 'ok' AND list_contains(?, v.input[1:20]))
WHERE {fault} IS NOT NULL
"""
PREFIX = 6  # least characters of an abbreviated id
UNBROKEN = 1_000_000  # width of a line in a file or a pipe


def show_history(root: str, name: str, as_json: bool = False) -> int:
    """Print the record's tree, or its rows as JSON. Return exit code 1 if no record has this name."""
    with collect_damage() as damaged:
        config = load_run(root)
        found = record_history(config.plan(root), name, damaged, config.pack)
        if as_json:
            rows = [{"step": step} | row for step, row in found]
            print(json.dumps(json_value(rows), ensure_ascii=False, indent=2, default=str, allow_nan=False))
        elif found:
            console = Console(width=output_width() or UNBROKEN)
            clip = re.match(r"[0-9a-f]+…?(-\d{9}-\d{9})", name)
            for tree in history_trees(found, clip[1] if clip else ""):
                console.print(tree, highlight=False)
        else:
            unknown = f"no record of this run has the id, key, path or file name {name!r}, or one that begins so"
            print(f"{unknown}; list all files with: ola sql {root} 'SELECT id, uri FROM source'")
        return 0 if found else 1


def record_history(
    plan: Plan, name: str, damaged: list[Damaged] | None = None, pack: PackSettings | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return (step, row) of all records related to a name: a path, a file name, or the start of an id or key.

    pack: with it, rows of `verify` say in `evidence_fault` why pack leaves out a question for its spans.
    """
    manifests = all_manifests(plan)
    return views.query(
        lambda: views.connect(plan.root, manifests, current(plan.root), damaged),
        lambda found: _read_history(found, plan, name, pack),
    )


def _read_history(
    connection: duckdb.DuckDBPyConnection, plan: Plan, name: str, pack: PackSettings | None
) -> list[tuple[str, dict[str, Any]]]:
    view_names = views.names(connection)
    if "source" not in view_names:
        return []
    head, cut, rest = name.partition("…")  # an id as `ola sql` shortens it
    ids = _find_sources(connection, view_names, head)
    rows = [
        ("source", row) for row in views.fetch_rows(connection, "SELECT * FROM source WHERE list_contains(?, id)", ids)
    ]
    if "ingest" not in view_names or not rows:
        return rows
    ingested = views.fetch_rows(connection, "SELECT * FROM ingest WHERE list_contains(?, input)", ids)
    videos = [row["id"] for row in ingested if row["id"]]
    if cut and len(videos) == 1:
        name = videos[0] + rest
    rows += [("ingest", row) for row in ingested]
    for planned in plan.steps[1:]:
        step = planned.step.name
        if step in view_names:
            rows += [(step, row) for row in _rows_of_videos(connection, step, videos, name)]
    if pack is not None and pack.evidence == "found" and {"ask", "verify"} <= view_names:
        faults = _evidence_faults(connection, videos, pack)
        rows = [(step, row | {"evidence_fault": faults[row["id"]]} if step == "verify" and row["id"] in faults else row)
                for step, row in rows]  # fmt: skip
    packed = _rows_of_videos(connection, "pack", videos, name) if "pack" in view_names else []
    return rows + [("pack", row) for row in packed]


def _evidence_faults(connection: duckdb.DuckDBPyConnection, videos: list[str], pack: PackSettings) -> dict[str, str]:
    """Return why the spans of questions about these videos do not hold, by the question's id."""
    spans, rest = (agreement_sql(view, "v.", pack.judges) for view in SPAN_VIEWS)
    fault = evidence_fault_sql(pack.agreement, "times", "spans", "rest")
    query = EVIDENCE_FAULTS.format(fault=fault, spans=spans, rest=rest)
    return dict(connection.execute(query, [videos]).fetchall())


def _find_sources(connection: duckdb.DuckDBPyConnection, view_names: set[str], name: str) -> list[str]:
    """Return the ids of the sources that match a name."""
    path = storage.normal(name)
    query = "SELECT id FROM source WHERE uri IN (?, ?) OR ends_with(uri, '/' || ?)"
    found = {row["id"] for row in views.fetch_rows(connection, query, name, path, name)}
    if len(name) >= PREFIX:
        found |= {
            row["id"] for row in views.fetch_rows(connection, "SELECT id FROM source WHERE starts_with(id, ?)", name)
        }
        if "ingest" in view_names:
            query = "SELECT input FROM ingest WHERE starts_with(id, left(?, 20)) AND status = 'ok'"
            found |= {row["input"] for row in views.fetch_rows(connection, query, name)}
    return sorted(found)


def _rows_of_videos(
    connection: duckdb.DuckDBPyConnection, step: str, videos: list[str], name: str
) -> list[dict[str, Any]]:
    """Return a step's rows about these videos; only of one clip if the name is that of a clip or a task."""
    rows = views.fetch_rows(
        connection, f"SELECT * FROM {step} WHERE list_contains(?, left(input, 20)) ORDER BY input", videos
    )
    clip = re.match(r"[0-9a-f]{20}-\d{9}-\d{9}", name)
    wanted = clip.group() if clip else ""
    return [row for row in rows if row["input"] == wanted[:20] or row["input"].startswith(wanted)]
