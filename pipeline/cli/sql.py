"""`ola sql`: run a query over the views of a root, or list the views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from manifests import views
from manifests.ledger import Damaged
from pipeline.cli.damaged import collect_damage
from pipeline.cli.open_run import connect
from pipeline.cli.sql_mistakes import explain_error
from pipeline.cli.sql_output import PARQUET, Answer, answer_of, check_output, write_parquet, write_text
from pipeline.cli.sql_views import overview
from pipeline.error_causes import known_cause
from pipeline.errors import ConfigError


def show_query(root: str, query: str, form: str, out: Path | None) -> None:
    """Print or write the result of a query; without a query, print the views.

    Raises ConfigError for a wrong query, and RunError if damaged files were left out.
    """
    check_output(form, out)
    with collect_damage() as damaged:
        if query:
            _show_query(root, query, form, out, damaged)
        else:
            print(views.query(lambda: connect(root, damaged), lambda connection: overview(connection, root)))


def _show_query(root: str, query: str, form: str, out: Path | None, damaged: list[Damaged]) -> None:
    columns: dict[str, dict[str, str]] = {}

    def ask(connection: duckdb.DuckDBPyConnection) -> Answer | None:
        try:
            relation: Any = connection.sql(query)
        except duckdb.Error:
            columns.update(views.columns_by_view(connection))
            raise
        if relation is None:  # a statement without a result
            return None
        if form == PARQUET:
            write_parquet(relation, out)
            return None
        return answer_of(relation)

    try:
        answer = views.query(lambda: connect(root, damaged), ask)
    except duckdb.Error as error:
        if isinstance(error, duckdb.CatalogException) and damaged:
            return  # all files of the view are damaged, and the caller reports this
        if (cause := known_cause(error)) is not None:
            raise cause from error
        raise ConfigError(f"sql: {explain_error(error, query, columns)}") from error
    if answer is not None:
        write_text(answer, form, out)
