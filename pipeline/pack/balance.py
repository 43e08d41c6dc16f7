"""Leave out clips for `pack.balance`: caps a video and a channel, then shares of the values of a column.

Clips are taken in the order of a digest of their ids, so the result depends neither on the order of the rows nor on who
reads them. The rules hold among the clips of a group that have a task to pack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import md5
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.pack.licences import LICENCE
from pipeline.pack.settings import BalanceSettings

CHANNEL_KEYS = ("channel_id", "uploader_id", "uploader", "channel")  # of `meta`, the first that is there
_VALUES = ", ".join(f"c.meta->>'{key}'" for key in CHANNEL_KEYS)
# Clips with a task that no rule excludes.
PASSING = f"""
SELECT c.clip, c.video, coalesce({_VALUES}) AS channel, ({{by}}
)::VARCHAR AS value
FROM (SELECT *, {LICENCE} AS licence FROM clips c) c
WHERE c.clip IN (SELECT clip FROM verdicts WHERE reason IS NULL)
"""
EXCLUDED = """
CREATE OR REPLACE TEMP TABLE verdicts AS
SELECT v.* REPLACE (coalesce(v.{name}, b.reason) AS {name}) FROM verdicts v LEFT JOIN unbalanced b USING (clip)
"""
PACKED = """
SELECT input AS clip, any_value(reason) AS reason FROM pack
WHERE status = 'dropped' AND contains(reason, 'over pack.balance') GROUP BY input
"""
Rows = Sequence[Mapping[str, Any]]


def passing_clips(connection: duckdb.DuckDBPyConnection, settings: BalanceSettings) -> pa.Table:
    """Return clip, video, channel and value of `by` of the clips in `verdicts` that have a task to pack.

    Raises ConfigError for a `by` that is no expression over the columns of a clip.
    """
    try:
        return connection.sql(PASSING.format(by=settings.by or "NULL")).to_arrow_table()
    except (duckdb.IOException, duckdb.InvalidInputException):
        raise  # a fault of a file, not of the expression
    except duckdb.Error as error:
        known = ", ".join(name for (name, *_) in connection.sql("DESCRIBE clips").fetchall())
        what = " ".join(str(error).split())
        raise ConfigError(
            f"pack.balance.by: expected an expression over a clip, got {settings.by!r}: {what} (columns: {known})"
        ) from error


def choose_unbalanced(clips: Rows, settings: BalanceSettings) -> pa.Table:
    """Return the clips to leave out, and the reason of each. clips: rows of `passing_clips`."""
    rows, reasons = sorted(clips, key=lambda row: md5(row["clip"].encode()).digest()), dict[str, str]()
    for column, most in (("video", settings.clips_per_video), ("channel", settings.clips_per_channel)):
        if most is not None:
            over = _over(rows, column, dict.fromkeys({row[column] for row in rows} - {None}, most))
            reasons |= dict.fromkeys(over, f"over pack.balance.clips_per_{column}")
            rows = [row for row in rows if row["clip"] not in over]
    if settings.by:
        limit = largest_count(Counter(row["value"] for row in rows), settings)
        over = _over(rows, "value", dict.fromkeys({row["value"] for row in rows}, limit))
        reasons |= dict.fromkeys(over, "over pack.balance")
    return pa.table({"clip": pa.array(reasons.keys(), pa.string()), "reason": pa.array(reasons.values(), pa.string())})


def largest_count(counts: Mapping[Any, int], settings: BalanceSettings) -> int:
    """Return how many clips of a value may be kept, at most, so that the rule holds: 0 where it cannot hold."""
    if settings.at_most is None:
        return min(counts.values(), default=0)
    share, least, most = Fraction(str(settings.at_most)), 0, max(counts.values(), default=0)
    while least < most:  # what holds for a limit holds for each lower one, since the kept grow ever slower
        limit = (least + most + 1) // 2
        holds = limit <= share * sum(min(count, limit) for count in counts.values())
        least, most = (limit, most) if holds else (least, limit - 1)
    return least


def _over(rows: Rows, column: str, limits: Mapping[Any, int]) -> set[str]:
    """Return the clips beyond the limit of their value, in the order of the rows."""
    seen: Counter[Any] = Counter()
    over = set[str]()
    for row in rows:
        value = row[column]
        seen[value] += 1
        if value in limits and seen[value] > limits[value]:
            over.add(row["clip"])
    return over


def exclude_clips(connection: duckdb.DuckDBPyConnection, unbalanced: pa.Table, name: str = "reason") -> None:
    """Exclude all tasks of some clips in `verdicts`. unbalanced: of `choose_unbalanced`. name: of the verdict."""
    connection.register("unbalanced", unbalanced)
    connection.execute(EXCLUDED.format(name=name))


def exclude_as_packed(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Exclude the clips that the last pack left out for balance. connection: with its view `pack`."""
    exclude_clips(connection, connection.sql(PACKED).to_arrow_table(), name)
