"""Reviews of cards by people: read the exported JSONL, keep it in the root, and compare it with `verify`.

<root>/reviews/<digest of the file>.parquet    one row for each mark, committed whole

Of one reviewer's marks of the same card or question the newest counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import duckdb
import pyarrow as pa

from manifests import storage, views
from manifests.ledger import digest, parquet_bytes, read_parquet
from manifests.review_view import REVIEWS, newest_marks
from pipeline.audit.agreement import wilson as share_interval
from pipeline.errors import ConfigError
from pipeline.steps.needs import agreement_sql

MARKS = ("good", "bad", "wrong")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "clip", "question", "mark", "note", "reviewer", "marked_at")]
)
LEAST_KEYS = ("id", "mark")


@dataclass(frozen=True)
class Review:
    """A mark. id: of the card or of the question. clip: the clip; "" for a source. marked_at: time in
    ISO 8601, as exported."""

    id: str
    clip: str
    question: str
    mark: str
    note: str
    reviewer: str
    marked_at: str


@dataclass(frozen=True)
class Agreement:
    """How often people agree with `verify`: `agreed` of `marked` questions, with a Wilson interval of 95 %."""

    marked: int
    agreed: int
    low: float
    high: float


def parse_reviews(text: str, file: str) -> list[Review]:
    """Parse exported JSONL. Raises ConfigError with the line of the first fault."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found.append(_parse_line(line, f"{file}:{number}"))
    if not found:
        raise ConfigError(f"{file}: expected a line of JSON for each mark, got none; export them from the report")
    return found


def _parse_line(line: str, place: str) -> Review:
    try:
        facts = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{place}: expected a JSON object, got {line[:40]!r}") from error
    names = [field.name for field in SCHEMA]
    if not isinstance(facts, dict) or set(facts) - set(names) or not set(LEAST_KEYS) <= set(facts):
        raise ConfigError(f"{place}: expected an object with {', '.join(names)}, got {line[:40]!r}")
    if facts["mark"] not in MARKS:
        raise ConfigError(f"{place}: mark: expected {', '.join(MARKS)}, got {facts['mark']!r}")
    return Review(**{name: str(facts.get(name) or "") for name in names})


def unknown_ids(connection: duckdb.DuckDBPyConnection, reviews: Sequence[Review]) -> list[str]:
    """Return the ids that no record of the run has. connection: with the views of the run."""
    connection.register("reviewed", pa.table({"id": [each.id for each in reviews]}))
    made = views.names(connection) & {"source", "ingest", "split", "ask"}
    known = " UNION ALL ".join(f"SELECT id FROM {view} WHERE id IS NOT NULL" for view in sorted(made))
    rows = connection.sql(f"SELECT DISTINCT id FROM reviewed WHERE id NOT IN ({known}) ORDER BY id").fetchall()
    return [name for (name,) in rows]


def store_reviews(root: str, reviews: Sequence[Review]) -> str:
    """Write reviews into the root; the same reviews have the same file. Return its URI."""
    rows = [asdict(each) for each in reviews]
    uri = storage.join(storage.normal(root), REVIEWS, f"{digest(rows)}.parquet")
    storage.write_bytes(uri, parquet_bytes(pa.Table.from_pylist(rows, SCHEMA)))
    return uri


def read_reviews(root: str) -> pa.Table:
    """Return the reviews that count: the newest of each reviewer and id, in the order of ids."""
    folder = storage.join(storage.normal(root), REVIEWS)
    files = [storage.join(folder, entry.path) for entry in storage.listing(folder) if entry.path.endswith(".parquet")]
    tables = [read_parquet(file).cast(SCHEMA) for file in sorted(files)]
    found = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    with duckdb.connect() as connection:
        connection.register("every", found)
        return connection.sql(newest_marks("every")).to_arrow_table()


def agreement_with_verify(
    connection: duckdb.DuckDBPyConnection, reviews: pa.Table, threshold: float
) -> dict[str, Agreement]:
    """Return the agreement of people with `verify`, by the mark and in all (key "all").

    `verify` finds a question good where the answer from frames and sound agrees with the reference; a person finds it
    good by the mark `good`. A mark of a card without a mark of its own question counts for nothing.
    """
    if not {"ask", "verify"} <= views.names(connection) or not len(reviews):
        return {}
    connection.register("reviews", reviews)
    both = agreement_sql("both", "v.")  # null where a witness answered from less
    rows = connection.sql(
        f"SELECT r.mark, {both} >= {threshold} AS fine, count(*) FROM reviews r "
        f"JOIN verify v ON v.question = r.id AND v.status = 'ok' AND {both} IS NOT NULL GROUP BY ALL"
    ).fetchall()
    counts: dict[str, list[int]] = {}
    for mark, fine, count in rows:
        for name in (mark, "all"):
            pair = counts.setdefault(name, [0, 0])
            pair[0] += count
            pair[1] += count * ((mark == "good") == fine)
    return {name: Agreement(marked, agreed, *wilson(agreed, marked)) for name, (marked, agreed) in counts.items()}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the Wilson interval of 95 % of a share; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    return share_interval(successes / trials, trials)


def mark_counts(reviews: pa.Table) -> Mapping[str, int]:
    """Return the number of reviews by mark."""
    marks = reviews["mark"].to_pylist()
    return {mark: marks.count(mark) for mark in MARKS}
