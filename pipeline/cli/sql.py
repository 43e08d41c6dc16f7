"""`ola status`, `ola why`, `ola sql`: looking at a run, while it works or afterwards. Nothing is changed."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manifests import storage, views
from manifests.json_values import json_value
from manifests.ledger import Counts, Damaged
from manifests.schema import hints
from pipeline.cli.damaged import damage_named
from pipeline.cli.life_lines import life_line
from pipeline.config import RUN, of_run
from pipeline.engine import lane_states
from pipeline.error_causes import known_cause
from pipeline.errors import ConfigError
from pipeline.monitoring.progress import asked_tokens
from pipeline.pack.publish import current_manifest, stage_of
from pipeline.plan import Plan
from pipeline.run import all_manifests, totals
from pipeline.sources import not_media
from pipeline.state.ledger_law import books_of, broken_laws
from stages.catalogue import current
from stages.samples import FAMILIES

REASONS = 8  # lines of reasons in the funnel; `--json` has all
ZONED = "TIMESTAMP WITH TIME ZONE"  # DuckDB's type of `now()`
PREFIX = 6  # characters of an id that are enough to ask for it


def plan_of(root: str) -> Plan:
    """The plan of the run at `root`, from its own settings. Raises ConfigError where there is none."""
    return of_run(root).plan(root)


def connect(root: str, damaged: list[Damaged] | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB with the views of the run at `root`. damaged: gets the files that are left out."""
    root = storage.normal(root)
    return views.connect(root, all_manifests(plan_of(root)) if has_run(root) else [], current(root), damaged)


def has_run(root: str) -> bool:
    """Whether there is a run at `root`, as there must be unless shards were imported."""
    return storage.exists(storage.join(root, RUN)) or not current(root)


def show_status(root: str, as_json: bool) -> bool:
    """Print the funnel, what the shards hold, and where a step was not given what the step before it made.

    True if the law of the ledger holds between all steps.
    """
    root = storage.normal(root)
    plan = plan_of(root) if has_run(root) else None
    counts, tokens, faults = looked_at(plan) if plan else ([], {}, [])
    unread: list[Damaged] = []
    shards, working = shard_facts(root, unread), lane_states.read(root)
    faults += [str(damage) for damage in unread]
    if as_json:
        steps = [step_facts(*row) | tokens.get(row[0], {}) for row in counts]
        told = {"steps": steps, "shards": shards, "faults": faults, "lanes": [asdict(lane) for lane in working]}
        told["not_media"] = not_media.read(root)
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return not faults
    if plan:
        print(funnel(counts))
    if passed_over := not_media.line(not_media.read(root)):
        print(passed_over)
    for lane in working:
        print(lane)
    for name, facts in tokens.items():
        print(f"{name}: {facts['prompt_tokens']:,} tokens read, {facts['answer_tokens']:,} written")
    for stage, facts in shards.items():
        if facts["files"]:
            sizes = f"{facts['samples']} samples, {facts['tasks']} tasks, {facts['bytes'] / 1e6:.1f} MB"
            print(f"shards/{stage}: {facts['files']} files, {sizes}")
    for fault in faults:
        print(fault)
    return not faults


def looked_at(plan: Plan) -> tuple[list[tuple[str, Counts]], dict[str, dict[str, int]], list[str]]:
    """The funnel's counts, the model's tokens by step, and what is wrong with the manifests."""
    books = books_of(plan)
    packed = current_manifest(plan)
    of_pack = packed.part_counts().values() if packed is not None else ()
    all_damage = [*books.damaged.values(), *(each for each in of_pack if isinstance(each, Damaged))]
    damaged = dict.fromkeys(map(str, all_damage))  # a block file is named once, not for each of its parts
    faults = [*damaged, *map(str, broken_laws(plan, books))]
    return totals(plan, books.counts), {} if damaged else token_counts(plan), faults


def token_counts(plan: Plan) -> dict[str, dict[str, int]]:
    """What the model has read and written for the rows of each step that keeps its answers."""
    asking = [planned.step.name for planned in plan.steps if "asked" in hints(planned.manifest.record)]

    def ask(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
        there = sorted(set(asking) & views.names(connection), key=asking.index)
        found = {name: asked_tokens(connection, name) for name in there}
        return {name: {"prompt_tokens": read, "answer_tokens": written} for name, (read, written) in found.items()}

    return views.query(lambda: views.connect(plan.root, all_manifests(plan), {}), ask)


def step_facts(name: str, counts: Counts) -> dict[str, Any]:
    """A step's line of the funnel, for scripts."""
    return {
        "step": name,
        "inputs": counts.inputs,
        "ok": counts.ok,
        "dropped": counts.dropped,
        "failed": counts.failed,
        "outputs": counts.outputs,
        "reasons": dict(sorted(counts.reasons.items())),
        "seconds": round(counts.seconds, 3),
    }


def shard_facts(root: str, damaged: list[Damaged] | None = None) -> dict[str, dict[str, int]]:
    """Files, samples, tasks and bytes of the current shard sets of each stage, but for those that are damaged."""
    facts = {stage: {"files": 0, "samples": 0, "tasks": 0, "bytes": 0} for stage in FAMILIES}
    for name, folder in current(root).items():
        sizes = [e.size for e in storage.listing(storage.join(root, folder)) if e.path.endswith(".tar")]
        with views.connect(root, [], {name: folder}, damaged) as connection:
            if "shards" not in views.names(connection):
                continue
            samples, tasks = connection.sql("SELECT count(DISTINCT key), count(*) FROM shards").fetchall()[0]
        found = {"files": len(sizes), "samples": samples, "tasks": tasks, "bytes": sum(sizes)}
        of_stage = facts[stage_of(name)]
        facts[stage_of(name)] = {what: of_stage[what] + number for what, number in found.items()}
    return facts


def funnel(counts: Sequence[tuple[str, Counts]]) -> str:
    """The funnel: a line a step, and beneath it why inputs were left behind."""
    heads = ("inputs", "ok", "dropped", "failed", "outputs", "seconds")
    lines = [f"{'step':<12}" + "".join(f"{head:>9}" for head in heads)]
    for name, row in counts:
        numbers = (row.inputs, row.ok, row.dropped, row.failed, row.outputs)
        lines.append(f"{name:<12}" + "".join(f"{number:>9}" for number in numbers) + f"{row.seconds:>9.1f}")
        reasons = sorted(grouped(row.reasons).items(), key=lambda pair: (-pair[1], pair[0]))
        lines += [f"    {count} x {' '.join(reason.split())}" for reason, count in reasons[:REASONS]]
        if len(reasons) > REASONS:
            lines.append(f"    and {len(reasons) - REASONS} reasons more: `ola status --json` has all")
    return "\n".join(lines)


def grouped(reasons: dict[str, int]) -> dict[str, int]:
    """Reasons without the ids and numbers in which they differ."""
    merged: dict[str, int] = {}
    for reason, count in reasons.items():
        plain = re.sub(r"\b[0-9a-f]{20}\b|\b\d+(\.\d+)?\b", "…", reason)
        key = plain if plain != reason else reason
        merged[key] = merged.get(key, 0) + count
    return merged


def plain(text: str) -> Text:
    """Text that rich shows as it is, whatever brackets it has, on one line."""
    return Text(" ".join(text.split()))


def show_query(root: str, query: str, form: str) -> None:
    """Print the answer of a query. Raises ConfigError with DuckDB's words, or RunError where files were left out."""
    with damage_named() as damaged:
        _show_query(root, query, form, damaged)


def _show_query(root: str, query: str, form: str, damaged: list[Damaged]) -> None:
    made: set[str] = set()

    def ask(connection: duckdb.DuckDBPyConnection) -> tuple[list[str], list[Any]] | None:
        made.update(views.names(connection))
        answer: Any = connection.sql(query)
        return None if answer is None else (answer.columns, values_of(answer))

    try:
        answer = views.query(lambda: connect(root, damaged), ask)
    except duckdb.Error as error:
        if isinstance(error, duckdb.CatalogException) and damaged:
            return  # the view is missing because all its files are damaged, which is what is said
        if (cause := known_cause(error)) is not None:
            raise cause from error
        raise ConfigError(f"{' '.join(str(error).split())} (views: {', '.join(sorted(made))})") from error
    if answer is None:  # a statement that answers nothing
        return
    names, rows = answer
    if form == "json":
        found = json_value([dict(zip(names, row, strict=True)) for row in rows])
        print(json.dumps(found, ensure_ascii=False, indent=2, default=str, allow_nan=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    else:
        Console().print(result_table(names, rows))


def values_of(answer: duckdb.DuckDBPyRelation) -> list[Any]:
    """The rows of an answer; times with a time zone as DuckDB writes them, since its client needs pytz for them."""
    if not any(ZONED in str(kind) for kind in answer.types):
        return answer.fetchall()
    columns = [f"c{n}" for n in range(len(answer.types))]
    casts = (f"CAST({c} AS {str(t).replace(ZONED, 'VARCHAR')})" for c, t in zip(columns, answer.types, strict=True))
    text = f"SELECT {', '.join(casts)} FROM answer AS answer({', '.join(columns)})"
    cast: Any = answer.query("answer", text)
    return list(cast.fetchall())


def result_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A query's answer for people."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(plain(name), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else plain(str(value)) for value in row))
    return table


def show_life(root: str, name: str) -> int:
    """Print what every step did with a record, its ancestors and its descendants; 1 where nobody knows it."""
    with damage_named() as damaged:
        return _show_life(root, name, damaged)


def _show_life(root: str, name: str, damaged: list[Damaged]) -> int:
    plan = plan_of(root)
    found = lives(plan, name, damaged)
    if not found:
        print(f"no record of this run is called {name!r}, nor begins so; all files: `ola sql {root} 'FROM source'`")
        return 1
    for step, row in found:
        print(life_line(step, row))
    return 0


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
    wanted = _sources(connection, made, name)
    rows = [("source", row) for row in _rows(connection, "SELECT * FROM source WHERE list_contains(?, id)", wanted)]
    if "ingest" not in made or not rows:
        return rows
    ingested = _rows(connection, "SELECT * FROM ingest WHERE list_contains(?, input)", wanted)
    videos = [row["id"] for row in ingested if row["id"]]
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
