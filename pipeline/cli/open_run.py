"""Open a run to look at it: its plan, and DuckDB with its views. Nothing is changed."""

from __future__ import annotations

import duckdb

from manifests import storage, views
from manifests.ledger import Damaged
from pipeline.config import RUN, of_run
from pipeline.plan import Plan
from pipeline.run import all_manifests
from stages.catalogue import current


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
