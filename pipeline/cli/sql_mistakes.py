"""Explain errors in queries in one line, with suggestions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import duckdb

NEAR = 3  # most suggested names
COLUMN = re.compile(r'(?:Referenced column|does not have a column named) "([^"]+)"')
TABLE = re.compile(r"Table with name (\S+) does not exist")
FIELD = re.compile(r'Could not find key "([^"]+)" in struct\s+Candidate Entries: (.*)', re.DOTALL)


def explain_error(error: duckdb.Error, query: str, columns: Mapping[str, Collection[str]]) -> str:
    """Return DuckDB's error in one line, with names similar to an unknown view, column or field.

    columns: names of the columns, by view.
    """
    text = str(error)
    views = f"(views: {', '.join(sorted(columns))})"
    if found := TABLE.search(text):
        return f"no view '{found[1]}'{_suggestion(near_names(found[1], columns))} {views}"
    if found := FIELD.search(text):
        fields = re.findall('"([^"]+)"', found[2])
        return f"no field '{found[1]}'{_suggestion(near_names(found[1], fields))}"
    if found := COLUMN.search(text):
        return _wrong_column(found[1], query, columns)
    return " ".join(text.partition("LINE 1")[0].split())


def _wrong_column(name: str, query: str, columns: Mapping[str, Collection[str]]) -> str:
    queried = [view for view in columns if re.search(rf"\b{re.escape(view)}\b", query)]
    message = f"no column '{name}' in {' or '.join(queried) or 'this query'}"
    if found := near_names(name, {column for view in queried for column in columns[view]}):
        return message + _suggestion(found)
    if near := [view for view in columns if name in columns[view]]:
        return f"{message}; {' and '.join(near)} {'have' if len(near) > 1 else 'has'} it: join on clip or video"
    return f"{message}; `ola sql ROOT` shows the columns of each view"


def near_names(name: str, choices: Iterable[str]) -> list[str]:
    """Return the choices with a similar spelling, the same start or the same end."""
    names = sorted(choices)
    alike = difflib.get_close_matches(name.lower(), names, n=NEAR)
    return alike or [each for each in names if name.lower() in each][:NEAR]


def _suggestion(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""
