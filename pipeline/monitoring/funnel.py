"""Read the funnel of a run: the counts of its steps, their tokens, and the contents of the shards."""

from __future__ import annotations

import re

import duckdb

from manifests import storage, views
from manifests.ledger import Counts, Damaged
from pipeline.monitoring.progress import keeps_tokens, sum_tokens
from pipeline.pack.publish import current_manifest, stage_of
from pipeline.plan import Plan
from pipeline.run import all_manifests, totals
from pipeline.state.ledger_law import law_violations, read_counts
from stages.catalogue import current
from stages.samples import FAMILIES


def read_funnel(plan: Plan) -> tuple[list[tuple[str, Counts]], dict[str, dict[str, int]], list[str]]:
    """Return the counts of all steps, the model's tokens by step, and the faults of the manifests."""
    books = read_counts(plan)
    packed = current_manifest(plan)
    of_pack = packed.part_counts().values() if packed is not None else ()
    all_damage = [*books.damaged.values(), *(each for each in of_pack if isinstance(each, Damaged))]
    damaged = dict.fromkeys(map(str, all_damage))  # one line per block file, not per part
    faults = [*damaged, *map(str, law_violations(plan, books))]
    return totals(plan, books.counts), {} if damaged else token_counts(plan), faults


def token_counts(plan: Plan) -> dict[str, dict[str, int]]:
    """Return the tokens of prompts and answers, by step, of the steps that store them."""
    asking = [planned.step.name for planned in plan.steps if keeps_tokens(planned.manifest.record)]

    def ask(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
        present = sorted(set(asking) & views.names(connection), key=asking.index)
        return {name: sum_tokens(connection, name) for name in present}

    return views.query(lambda: views.connect(plan.root, all_manifests(plan), {}), ask)


def shard_facts(root: str, damaged: list[Damaged] | None = None) -> dict[str, dict[str, int]]:
    """Return the files, samples, tasks and bytes of the current shard sets, by stage, without damaged sets."""
    facts = {stage: {"files": 0, "samples": 0, "tasks": 0, "bytes": 0} for stage in FAMILIES}
    for name, folder in current(root).items():
        sizes = [e.size for e in storage.listing(storage.join(root, folder)) if e.path.endswith(".tar")]
        with views.connect(root, [], {name: folder}, damaged) as connection:
            if "shards" not in views.names(connection):
                continue
            samples, tasks = connection.sql("SELECT count(DISTINCT key), count(*) FROM shards").fetchall()[0]
        found = {"files": len(sizes), "samples": samples, "tasks": tasks, "bytes": sum(sizes)}
        of_stage = facts[stage_of(name)]
        facts[stage_of(name)] = {count: of_stage[count] + number for count, number in found.items()}
    return facts


def group_reasons(reasons: dict[str, int]) -> dict[str, int]:
    """Add up reasons that differ only in ids and numbers."""
    merged: dict[str, int] = {}
    for reason, count in reasons.items():
        plain = re.sub(r"\b[0-9a-f]{20}\b|\b\d+(\.\d+)?\b", "…", reason)
        key = plain if plain != reason else reason
        merged[key] = merged.get(key, 0) + count
    return merged
