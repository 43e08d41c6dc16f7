"""Draw the records that get a card: by a seed, from every step and reason, so that failures are seen too.

A stratum is what became of a record: in the shards, or the step and the reason where it stopped. Half of the cards are
of clips in the shards; the other strata take turns for the other half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import duckdb

from manifests import views
from manifests.moved_root import sql_string
from pipeline.errors import ConfigError
from pipeline.plan import Plan

CLIP_ID = 40  # characters; ids of questions and of other records of a clip begin with it
PACKED = "packed"
# Reasons that differ only in ids and numbers are one stratum, as in `ola status`.
PLAIN = r"regexp_replace(reason, '\b[0-9a-f]{20}\b|\b\d+(\.\d+)?\b', '…', 'g')"


@dataclass(frozen=True)
class Drawn:
    """A record that gets a card: its id, the step and status where it ended, and the reason without numbers."""

    id: str
    step: str
    status: str
    reason: str

    @property
    def is_clip(self) -> bool:
        """Return whether the record is a clip, not a source or a video."""
        return len(self.id) == CLIP_ID


def draw(
    connection: duckdb.DuckDBPyConnection, plan: Plan, count: int, seed: int, step: str | None, where: str | None
) -> list[Drawn]:
    """Return up to `count` records in the order in which they were drawn.

    connection: with the views of the run and the candidates. step: only records that ended in this step. where: only
    clips with a candidate for which this condition is true. Raises ConfigError for a wrong step or condition.
    """
    made = views.names(connection)
    steps = [*(planned.step.name for planned in plan.steps), "pack"]
    if step is not None and step not in steps:
        raise ConfigError(f"--step {step}: expected a step of this run, got none of that name ({', '.join(steps)})")
    if where is not None:
        _create_wanted(connection, where)
    strata: list[list[Drawn]] = []
    packed: list[Drawn] = []
    for name in (each for each in steps if each in made and step in (None, each)):
        strata += _strata(connection, name, count, seed, where is not None)
        if name == "pack":
            packed = [Drawn(clip, PACKED, "ok", "") for clip in _packed(connection, count, seed, where is not None)]
    others = [each for turn in zip_longest(*strata) for each in turn if each is not None]
    return list(_alternate(packed, others, count))


def _alternate(packed: Sequence[Drawn], others: Sequence[Drawn], count: int) -> Iterator[Drawn]:
    """Yield records of both in turn, each id once, until there are `count`."""
    seen = set[str]()
    for pair in zip_longest(packed, others):
        for each in pair:
            if each is not None and each.id not in seen and len(seen) < count:
                seen.add(each.id)
                yield each


def _create_wanted(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    try:
        connection.execute(f"CREATE TEMP TABLE wanted AS SELECT DISTINCT clip FROM candidates WHERE ({where}\n)")
    except (duckdb.IOException, duckdb.InvalidInputException):
        raise  # a fault of a file, not of the expression
    except duckdb.Error as error:
        columns = [name for (name, *_) in connection.sql("DESCRIBE candidates").fetchall()]
        what, known = " ".join(str(error).split()), ", ".join(columns)
        raise ConfigError(f"--where: expected a condition, got {where!r}: {what} (columns: {known})") from error


def _order(seed: int) -> str:
    return f"md5(concat(input, {sql_string(str(seed))}))"


def _strata(
    connection: duckdb.DuckDBPyConnection, step: str, count: int, seed: int, only_wanted: bool
) -> list[list[Drawn]]:
    """Return the first records of each reason of a step, in the order of the seed."""
    clip = f"input[1:{CLIP_ID}]"
    condition = f"AND {clip} IN (SELECT clip FROM wanted)" if only_wanted else ""
    rows = connection.sql(
        f"SELECT status, {PLAIN} AS plain, min_by(input, {_order(seed)}, {count}) FROM {step} "
        f"WHERE status <> 'ok' {condition} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return [[Drawn(name[:CLIP_ID], step, status, reason or "") for name in names] for status, reason, names in rows]


def _packed(connection: duckdb.DuckDBPyConnection, count: int, seed: int, only_wanted: bool) -> list[str]:
    condition = "AND input IN (SELECT clip FROM wanted)" if only_wanted else ""
    clips = f"SELECT DISTINCT input FROM pack WHERE status = 'ok' {condition}"
    [(found,)] = connection.sql(f"SELECT min_by(input, {_order(seed)}, {count}) FROM ({clips})").fetchall()
    return list(found or ())
