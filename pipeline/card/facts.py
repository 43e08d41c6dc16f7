"""Read what a dataset card says: counts of the shards, and of the run that packed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from manifests import views
from manifests.ledger import Damaged
from pipeline.card import queries
from pipeline.config import Config
from pipeline.errors import ConfigError, RunError
from pipeline.monitoring.funnel import shard_facts
from pipeline.monitoring.run_facts import RunFacts, read_facts
from pipeline.plan import Plan
from pipeline.run import all_manifests
from stages.catalogue import current
from stages.samples import FAMILIES

MEMORY = "1GB"  # of each query; larger ones spill to disk
ASKING = ("caption", "ask", "verify")

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Others:
    """The first value of a row that sums up the rows of several values. values: their number."""

    values: int


@dataclass(frozen=True)
class ShardSetFacts:
    """A shard set. folder: below the root. tasks: by split."""

    name: str
    folder: str
    tasks: Mapping[str, int]

    @property
    def is_imported(self) -> bool:
        """Whether the set was imported: no step of the run knows its sources."""
        return self.name not in FAMILIES


@dataclass(frozen=True)
class ContentFacts:
    """What the shards hold.

    stages: files, samples, tasks and bytes by stage, as in `ola status`. kinds: rows of stage, kind, tasks in train,
    tasks in val, tokens. splits: rows of split, samples, tasks, videos, tokens. in_both: videos in both splits.
    """

    sets: Sequence[ShardSetFacts]
    stages: Mapping[str, Mapping[str, int]]
    kinds: Sequence[Row]
    splits: Sequence[Row]
    in_both: int

    @property
    def has_imports(self) -> bool:
        """Whether a set was imported."""
        return any(each.is_imported for each in self.sets)


@dataclass(frozen=True)
class RunRows:
    """Tables about a run. Values beyond the most frequent are one row (`Others`); unknown ones (None) are last.

    sources: rows of folder, sources, videos, videos packed. licences, languages: rows of the value, videos, clips,
    hours, tasks, all of them packed. read_licences: rows of licence and videos read. letters: rows of number of
    options, letter, questions. answers: rows of kind, answer, questions, questions of the kind. made_by: rows of step,
    software, rows. origins: rows of the transcripts' origin, clips, words.
    """

    sources: Sequence[Row] = ()
    licences: Sequence[Row] = ()
    read_licences: Sequence[Row] = ()
    languages: Sequence[Row] = ()
    letters: Sequence[Row] = ()
    answers: Sequence[Row] = ()
    made_by: Sequence[Row] = ()
    origins: Sequence[Row] = ()


@dataclass(frozen=True)
class CardFacts:
    """All facts of a card. run: None for a root with imported shards alone."""

    content: ContentFacts
    run: RunFacts | None
    rows: RunRows


def read_card_facts(root: str, plan: Plan | None, config: Config, damaged: list[Damaged] | None) -> CardFacts:
    """Read the facts of the run and the shards at `root`.

    Raises ConfigError without shards, and RunError for faults that `ola status` names.
    """
    if not current(root):
        raise ConfigError(f"{root}: expected shards, got none; finish `ola run` first")
    stages = shard_facts(root, damaged)

    def connect() -> duckdb.DuckDBPyConnection:
        connection = views.connect(root, all_manifests(plan) if plan else [], current(root), damaged)
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        return connection

    def ask(connection: duckdb.DuckDBPyConnection) -> CardFacts:
        content = _read_content(connection, current(root), stages)
        if plan is None:
            return CardFacts(content, None, RunRows())
        run = read_facts(connection, plan, config.pack)
        if run.faults:
            raise RunError(f"{run.faults[0]}: no card was written; `ola status` names all faults")
        return CardFacts(content, run, _read_rows(connection))

    return views.query(connect, ask)


def _read_content(
    connection: duckdb.DuckDBPyConnection, folders: Mapping[str, str], stages: Mapping[str, Mapping[str, int]]
) -> ContentFacts:
    existing = views.names(connection)
    sets = [
        ShardSetFacts(name, folder, dict(connection.sql(queries.SET_SPLITS.format(name=name)).fetchall()))
        for name, folder in sorted(folders.items())
        if f"shards_{name}" in existing
    ]
    if not sets:
        return ContentFacts([], stages, [], [], 0)
    kinds, splits = (connection.sql(query).fetchall() for query in (queries.KINDS, queries.SPLITS))
    (in_both,) = connection.sql(queries.IN_BOTH).fetchall()[0]
    return ContentFacts(sets, stages, kinds, splits, in_both)


def _read_rows(connection: duckdb.DuckDBPyConnection) -> RunRows:
    existing = views.names(connection)
    found: dict[str, Sequence[Row]] = {}
    if {"pack", "ingest", "split", "source"} <= existing:
        connection.execute(queries.packed_sql("transcribe" in existing))
        for name, query in {
            "sources": queries.SOURCES,
            "licences": queries.BY_COLUMN.format(column="licence"),
            "read_licences": queries.READ_LICENCES,
            "languages": queries.BY_COLUMN.format(column="language"),
        }.items():
            found[name] = merge_rest(connection, query)
    if {"pack", "ask"} <= existing:
        connection.execute(queries.QUESTIONS)
        found["letters"] = connection.sql(queries.LETTERS).fetchall()
        found["answers"] = connection.sql(queries.ANSWERS).fetchall()
    made = [queries.MADE_BY.format(step=step) for step in ASKING if step in existing]
    found["made_by"] = [row for query in made for row in connection.sql(query).fetchall()]
    found["origins"] = connection.sql(queries.ORIGINS).fetchall() if "transcribe" in existing else ()
    return RunRows(**found)


def merge_rest(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    """Return the first rows of a query, those after `TOP` as one row, and a row of the value None last."""
    answer = connection.execute(query)
    found, rest, unknown = list[Row](), list[Any](), list[Row]()
    merged = 0
    while rows := answer.fetchmany(10_000):
        for row in rows:
            if row[0] is None:
                unknown.append(row)
            elif len(found) < queries.TOP:
                found.append(row)
            else:
                merged += 1
                rest = [a + b for a, b in zip(rest, row[1:], strict=True)] if rest else list(row[1:])
    return [*found, *([(Others(merged), *rest)] if rest else []), *unknown]
