"""Make SQL views that find their files after the root was moved or copied.

In: CREATE VIEW statements with absolute paths. Out: the same statements, with each path below the root replaced by a
call of the macro `in_root`. The macro takes the first of these folders:

    1. the variable ola_root, if the session has set it;
    2. the folder of manifest.duckdb, if DuckDB was opened with that file;
    3. the root at the time when the views were written.

A view does not know its database file. The setting temp_directory shows the file: by default it is `<database>.tmp`.
The views of a second, attached manifest.duckdb would read the files of the first: they raise an error instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DATABASE, VARIABLE = "manifest.duckdb", "ola_root"
PATTERN = r"^(.*/)?manifest\.duckdb"
OPENED = f"regexp_matches(current_setting('temp_directory'), '{PATTERN}\\.tmp$')"
FOLDER = f"regexp_extract(current_setting('temp_directory'), '{PATTERN}\\.tmp$', 1)"
ATTACHED = f"(SELECT count(*) FROM duckdb_databases() WHERE regexp_matches(path, '{PATTERN}$')) > 1"
ADVICE = f"this session has opened the manifest.duckdb of another root; do SET VARIABLE {VARIABLE} to this view's root"


def sql_string(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def literal_path(path: str) -> str:
    """Escape DuckDB's glob characters in a path."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def movable_statements(root: str, views: Iterable[str]) -> list[str]:
    """Return statements that create the macro and these views. root: as written in the views' paths."""
    path = re.compile(rf"'{re.escape(sql_string(literal_path(root))[1:-1])}/((?:[^']|'')*)'")
    found = []
    for view in views:
        relative, paths = path.subn(r"in_root('\1')", view)
        found.append(f"{relative} WHERE {_guard(root)}" if paths else view)
    return [_macro(root), *found] if found else []


def setting(root: str) -> str:
    """Return the SQL statement that makes the views read from this root."""
    return f"SET VARIABLE {VARIABLE} = {sql_string(root)}"


def _macro(root: str) -> str:
    chosen = f"getvariable('{VARIABLE}') || '/', CASE WHEN {OPENED} THEN {FOLDER} END, {sql_string(f'{root}/')}"
    plain = rf"regexp_replace(coalesce({chosen}), '([\[*?])', '[\1]', 'g')"
    return f"CREATE OR REPLACE MACRO in_root(path) AS {plain} || path"


def _guard(root: str) -> str:
    """Return a condition that raises an error if the macro would take another root's folder, and else is true."""
    other = f"getvariable('{VARIABLE}') IS NULL AND {OPENED} AND {FOLDER} <> {sql_string(f'{root}/')}"
    return f"CASE WHEN {other} AND {ATTACHED} THEN error({sql_string(ADVICE)}) ELSE true END"
