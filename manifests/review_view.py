"""The view `review`: the marks of people that count, from the files that `ola review` keeps in a root.

Of one reviewer's marks of the same record the newest counts.
"""

from __future__ import annotations

from manifests import storage
from manifests.moved_root import literal_path, sql_string

REVIEWS = "reviews"  # folder below the root, with a Parquet file for each exported file
NEWEST = "row_number() OVER (PARTITION BY id, reviewer ORDER BY marked_at DESC, mark, note) = 1"


def newest_marks(rows: str) -> str:
    """Return SQL that selects the marks that count, in the order of ids. rows: SQL of a table of marks."""
    return f"SELECT * FROM (SELECT * FROM {rows} QUALIFY {NEWEST} ORDER BY id, reviewer)"


def review_statement(root: str) -> str | None:
    """Return SQL that creates the view over the files that the root has at query time; None without any now."""
    folder = storage.join(root, REVIEWS)
    if not any(entry.path.endswith(".parquet") for entry in storage.listing(folder)):
        return None
    files = f"read_parquet([{sql_string(f'{literal_path(folder)}/*.parquet')}], union_by_name = true)"
    return f"CREATE OR REPLACE VIEW review AS {newest_marks(files)}"
