"""Query the manifests of a run with DuckDB.

python examples/query_manifests.py out
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb


def main(root: str) -> None:
    """Print what became of the inputs of each step, and the longest clips."""
    with duckdb.connect(str(Path(root, "manifest.duckdb")), read_only=True) as connection:
        for step in ("ingest", "split", "extract", "transcribe"):
            print(step)
            print(connection.sql(f"SELECT status, reason, count(*) AS inputs FROM {step} GROUP BY ALL ORDER BY ALL"))
        print(
            connection.sql("""
            SELECT ingest.uri, (split.end_ms - split.start_ms) / 1000 AS seconds, split.motion
            FROM split JOIN ingest ON ingest.id = split.video
            WHERE split.status = 'ok' ORDER BY seconds DESC LIMIT 5
        """)
        )


if __name__ == "__main__":
    main(sys.argv[1])
