"""Describe the views for `ola sql ROOT`: their columns, their joins, and example queries."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping

import duckdb

from manifests import views
from pipeline.cli.tables import output_width

WIDTH = 100  # characters per line without a terminal and COLUMNS
ROWS = {
    "source": "files and records that were named in the input",
    "ingest": "videos, probed",
    "split": "clips of the videos",
    "extract": "frames and sound of the clips",
    "transcribe": "what is said in the clips",
    "screen": "whether transcripts are worth asking about",
    "caption": "captions of the clips",
    "ask": "questions about the clips",
    "verify": "answers to the questions from each modality",
    "fingerprint": "hashes of the clips, by which copies are found",
    "inspect": "technical scores of the frames and the sound of the clips",
    "hear": "speech, music and sound events in the clips, with times",
    "sync": "how well picture and sound of the clips agree in time",
    "duplicates": "clips of videos that have near-duplicates",
    "duplicate_pairs": "pairs of clips that are alike",
    "pack": "tasks that were considered for the shards",
    "shards": "tasks in the current shards",
    "review": "marks of people, read back by `ola review`",
}
# The view that a column's ids refer to.
IDS = {
    "source": "source",
    "video": "ingest",
    "clip": "split",
    "footage": "extract",
    "transcript": "transcribe",
    "question": "ask",
}
# The views that a query needs, and the query.
EXAMPLES = (
    (("ingest",), "SELECT status, reason, count(*) AS videos FROM ingest GROUP BY ALL ORDER BY videos DESC"),
    (
        ("ingest", "split"),
        "SELECT v.uri, count(c.id) AS clips, sum(c.end_ms - c.start_ms) / 1000 AS seconds "
        "FROM ingest v JOIN split c ON c.video = v.id GROUP BY ALL ORDER BY seconds DESC LIMIT 10",
    ),
    (
        ("split", "transcribe"),
        "SELECT c.id, c.motion, t.text FROM split c JOIN transcribe t ON t.clip = c.id WHERE t.words > 0 LIMIT 10",
    ),
    (("shards",), "SELECT stage, kind, split, count(*) AS tasks, sum(tokens) AS tokens FROM shards GROUP BY ALL"),
    (("shards",), "SELECT shard, count(DISTINCT key) AS samples, sum(tokens) AS tokens FROM shards GROUP BY ALL"),
    (("source",), "SELECT uri, bytes, fault FROM source ORDER BY bytes DESC LIMIT 10"),
    (("shards",), "SELECT video, count(DISTINCT clip) AS clips, count(*) AS tasks FROM shards GROUP BY ALL LIMIT 10"),
)
MAX_EXAMPLES = 3  # most examples


def overview(connection: duckdb.DuckDBPyConnection, root: str) -> str:
    """Return a text about the views of a connection to this root."""
    columns = views.columns_by_view(connection)
    order = [name for name in ROWS if name in columns] + sorted(columns.keys() - ROWS.keys())
    lines = [f"Views of {root}. Rows that are failed or dropped have status, reason and detail; the rest is null."]
    for name in order:
        lines += ["", *_view(connection, name, columns[name])]
    lines += ["", "Joins (each step's input is the id of the record it was given):"]
    for target, holders in joins(columns).items():
        lines += _wrap(f"{target}.id = {', '.join(holders)}", " " * 8)
    lines += ["", "Examples:"]
    lines += [f"    ola sql {shlex.quote(root)} {shlex.quote(query)}" for query in examples(columns)]
    return "\n".join(lines)


def _view(connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> Iterator[str]:
    ((rows,),) = connection.sql(f"SELECT count(*) FROM {name}").fetchall()
    meaning = ROWS.get(name) or f"the rows of shards from {name.removeprefix('shards_')}"
    yield f"{name:<11} {rows:,} row{'s' * (rows != 1)}: {meaning}"
    if name in ROWS:
        yield from _wrap(", ".join(columns), " " * 4)


def _wrap(text: str, indent: str) -> list[str]:
    """Wrap a text to the terminal. indent: of all lines but the first, which has four spaces."""
    return textwrap.wrap(text, output_width() or WIDTH, initial_indent=" " * 4, subsequent_indent=indent)


def joins(columns: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the columns that refer to each view, by the view's name."""
    found: dict[str, list[str]] = {}
    for column, target in IDS.items():
        holders = [
            f"{view}.{column}"
            for view in ROWS
            if view != target and columns.get(view, {}).get(column) == "VARCHAR" and target in columns
        ]
        if holders:
            found[target] = holders
    return found


def examples(columns: Mapping[str, object]) -> list[str]:
    """Return the first example queries whose views exist."""
    return [query for needed, query in EXAMPLES if all(name in columns for name in needed)][:MAX_EXAMPLES]
