"""`ola why`: what every step did with a record, its ancestors and its descendants."""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb
from rich.console import Console

from manifests import storage, views
from manifests.json_values import json_value
from manifests.ledger import Damaged
from pipeline.cli.damaged import damage_named
from pipeline.cli.life_tree import life_trees
from pipeline.cli.open_run import plan_of
from pipeline.cli.tables import output_width
from pipeline.plan import Plan
from pipeline.run import all_manifests
from stages.catalogue import current

PREFIX = 6  # characters of an id that are enough to ask for it
UNBROKEN = 1_000_000  # width of a line in a file or a pipe


def show_life(root: str, name: str, as_json: bool = False) -> int:
    """Print the record's tree, or its rows as JSON. Returns 1 where no record is called so."""
    with damage_named() as damaged:
        found = lives(plan_of(root), name, damaged)
        if as_json:
            rows = [{"step": step} | row for step, row in found]
            print(json.dumps(json_value(rows), ensure_ascii=False, indent=2, default=str, allow_nan=False))
        elif found:
            console = Console(width=output_width() or UNBROKEN)
            clip = re.match(r"[0-9a-f]+…?(-\d{9}-\d{9})", name)
            for tree in life_trees(found, clip[1] if clip else ""):
                console.print(tree, highlight=False)
        else:
            unknown = f"no record of this run has the id, key, path or file name {name!r}, or one that begins so"
            print(f"{unknown}; list all files with: ola sql {root} 'SELECT id, uri FROM source'")
        return 0 if found else 1


def lives(plan: Plan, name: str, damaged: list[Damaged] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """(step, row) of all that belongs to a name: a file's path or name, or the beginning of an id or key."""
    manifests = all_manifests(plan)
    return views.query(
        lambda: views.connect(plan.root, manifests, current(plan.root), damaged),
        lambda found: _lives(found, plan, name),
    )


def _lives(connection: duckdb.DuckDBPyConnection, plan: Plan, name: str) -> list[tuple[str, dict[str, Any]]]:
    made = views.names(connection)
    if "source" not in made:
        return []
    head, cut, rest = name.partition("…")  # of an id that `ola sql` has shortened
    wanted = _sources(connection, made, head)
    rows = [("source", row) for row in _rows(connection, "SELECT * FROM source WHERE list_contains(?, id)", wanted)]
    if "ingest" not in made or not rows:
        return rows
    ingested = _rows(connection, "SELECT * FROM ingest WHERE list_contains(?, input)", wanted)
    videos = [row["id"] for row in ingested if row["id"]]
    if cut and len(videos) == 1:
        name = videos[0] + rest
    rows += [("ingest", row) for row in ingested]
    for planned in plan.steps[1:]:
        step = planned.step.name
        if step in made:
            rows += [(step, row) for row in _of_videos(connection, step, videos, name)]
    packed = _of_videos(connection, "pack", videos, name) if "pack" in made else []
    return rows + [("pack", row) for row in packed]


def _sources(connection: duckdb.DuckDBPyConnection, made: set[str], name: str) -> list[str]:
    """Ids of the sources that a name may mean."""
    path = storage.normal(name)
    query = "SELECT id FROM source WHERE uri IN (?, ?) OR ends_with(uri, '/' || ?)"
    found = {row["id"] for row in _rows(connection, query, name, path, name)}
    if len(name) >= PREFIX:
        found |= {row["id"] for row in _rows(connection, "SELECT id FROM source WHERE starts_with(id, ?)", name)}
        if "ingest" in made:
            query = "SELECT input FROM ingest WHERE starts_with(id, left(?, 20)) AND status = 'ok'"
            found |= {row["input"] for row in _rows(connection, query, name)}
    return sorted(found)


def _of_videos(connection: duckdb.DuckDBPyConnection, step: str, videos: list[str], name: str) -> list[dict[str, Any]]:
    """Rows of a step about these videos; of one clip, where the name is that of a clip or a task."""
    rows = _rows(connection, f"SELECT * FROM {step} WHERE list_contains(?, left(input, 20)) ORDER BY input", videos)
    clip = re.match(r"[0-9a-f]{20}-\d{9}-\d{9}", name)
    return [row for row in rows if clip is None or row["input"] in (clip.group(), clip.group()[:20])]


def _rows(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[dict[str, Any]]:
    answer = connection.execute(query, list(values))
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
