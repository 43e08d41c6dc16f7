"""The rules of pack over a whole group: those for each candidate, then `pack.balance`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from manifests.ledger import Damaged
from pipeline.pack.balance import choose_unbalanced, exclude_clips, passing_clips
from pipeline.pack.groups import Group
from pipeline.pack.part_candidates import PartCandidates
from pipeline.pack.rules import check_unique, judge_candidates
from pipeline.pack.settings import NO_BALANCE, PackSettings
from pipeline.pack.shortcuts import names_answer_share


def depends_on_group(settings: PackSettings) -> bool:
    """Return whether these settings exclude a candidate for what else is in its group."""
    return settings.balance != NO_BALANCE or names_answer_share(settings.where)


def judge_group(
    candidates: PartCandidates, group: Group, damaged: list[Damaged]
) -> Iterator[tuple[Sequence[int], duckdb.DuckDBPyConnection]]:
    """Yield batches of part numbers, each with a connection that has their `verdicts` until the next batch.

    Reads the rows twice for `pack.balance`. damaged: gets the parts that cannot be read. Raises ConfigError for a wrong
    expression, RunError for ids that are not unique.
    """
    settings = candidates.settings
    if names_answer_share(settings.where):
        candidates.count_answers(group.parts)
    unbalanced = _find_unbalanced(candidates, group) if settings.balance != NO_BALANCE else None
    for parts, connection in candidates.batches(group.parts, damaged):
        check_unique(connection)
        judge_candidates(connection, settings, {"reason": settings.where})
        if unbalanced is not None:
            exclude_clips(connection, unbalanced)
        yield parts, connection


def _find_unbalanced(candidates: PartCandidates, group: Group) -> pa.Table:
    settings, clips = candidates.settings, list[pa.Table]()
    for _, connection in candidates.batches(group.parts, []):
        judge_candidates(connection, settings, {"reason": settings.where})
        clips.append(passing_clips(connection, settings.balance))
    return choose_unbalanced(pa.concat_tables(clips).to_pylist() if clips else [], settings.balance)
