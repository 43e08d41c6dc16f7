"""Open a run read-only: its plan, and a DuckDB connection with its views."""

from __future__ import annotations

import duckdb

from manifests import storage, views
from manifests.ledger import Damaged
from pipeline.config import RUN, load_run
from pipeline.plan import Plan
from pipeline.report.reviews import read_reviews
from pipeline.run import all_manifests
from stages.catalogue import current


def plan_of(root: str) -> Plan:
    """Return the plan of the run at `root`, from its stored settings. Raises ConfigError if there is no run."""
    return load_run(root).plan(root)


def connect(root: str, damaged: list[Damaged] | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection with the views of the run at `root`, and with `review` if there are any reviews.

    damaged: damage of left-out files is appended.
    """
    root = storage.normal(root)
    manifests = all_manifests(plan_of(root)) if has_run(root) else []
    connection = views.connect(root, manifests, current(root), damaged)
    if len(marks := read_reviews(root)):
        connection.register("marks", marks)
        connection.execute("CREATE VIEW review AS FROM marks")
    return connection


def has_run(root: str) -> bool:
    """Return whether there is a run at `root`. Raises ConfigError if there is neither a run nor imported shards."""
    return storage.exists(storage.join(root, RUN)) or not current(root)
