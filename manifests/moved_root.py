"""SQL with which the views on disk find their files after their root was moved or copied.

In: the statements of the views, with absolute paths. Out: the same statements, with each path below the root as a call
of the macro `in_root`. The macro takes the first of these folders:

    1. the variable ola_root, where the session has set it;
    2. the folder of manifest.duckdb, where DuckDB was opened with that file;
    3. the root as it was when the views were written.

A view cannot ask which file it comes from. The setting temp_directory tells: it is `<database>.tmp` unless somebody
sets it. A second manifest.duckdb that is attached to the first would read the files of the first: it raises an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DATABASE, VARIABLE = "manifest.duckdb", "ola_root"
PATTERN = r"^(.*/)?manifest\.duckdb"
OPENED = f"regexp_matches(current_setting('temp_directory'), '{PATTERN}\\.tmp$')"
FOLDER = f"regexp_extract(current_setting('temp_directory'), '{PATTERN}\\.tmp$', 1)"
ATTACHED = f"(SELECT count(*) FROM duckdb_databases() WHERE regexp_matches(path, '{PATTERN}$')) > 1"
ADVICE = f"this session has opened the manifest.duckdb of another root; SET VARIABLE {VARIABLE} to the root of this one"


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def literal_path(path: str) -> str:
    """`path` with the characters that DuckDB's globs give a meaning made plain."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def movable(root: str, views: Iterable[str]) -> list[str]:
    """Return statements that create the macro and these views. root: as the views' paths name it."""
    path = re.compile(rf"'{re.escape(quoted(literal_path(root))[1:-1])}/((?:[^']|'')*)'")
    found = []
    for view in views:
        relative, paths = path.subn(r"in_root('\1')", view)
        found.append(f"{relative} WHERE {_guard(root)}" if paths else view)
    return [_macro(root), *found] if found else []


def setting(root: str) -> str:
    """Return the statement that makes the views read from this root."""
    return f"SET VARIABLE {VARIABLE} = {quoted(root)}"


def _macro(root: str) -> str:
    chosen = f"getvariable('{VARIABLE}') || '/', CASE WHEN {OPENED} THEN {FOLDER} END, {quoted(f'{root}/')}"
    plain = rf"regexp_replace(coalesce({chosen}), '([\[*?])', '[\1]', 'g')"
    return f"CREATE OR REPLACE MACRO in_root(path) AS {plain} || path"


def _guard(root: str) -> str:
    """Make a condition that is true, or an error where the macro would take the folder of another root."""
    other = f"getvariable('{VARIABLE}') IS NULL AND {OPENED} AND {FOLDER} <> {quoted(f'{root}/')}"
    return f"CASE WHEN {other} AND {ATTACHED} THEN error({quoted(ADVICE)}) ELSE true END"
