"""`ola import`: import external conversations, and print the outcome and the shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from manifests import storage
from pipeline.cli.status import REASONS
from pipeline.importing.importer import ImportRequest, import_records
from pipeline.importing.reindex import index_shards
from pipeline.monitoring.funnel import shard_facts


def show_import(request: ImportRequest, root: str, strict: bool, retry: bool) -> bool:
    """Import a JSON file, or index a folder of tars, and print a report. Return whether there is any training task."""
    if os.path.isdir(request.file):
        tasks = index_shards(request.file, root)
        print(f"{tasks} tasks in the tars of {request.file}")
        return tasks > 0
    request = replace(request, media=storage.normal(request.media or os.path.dirname(os.path.abspath(request.file))))
    report = import_records(request, root, strict, retry)
    left_out = sum(report.reasons.values())
    done = "" if report.fresh else " (done before)"
    print(f"{len(report.outcomes)} records: {report.packed} packed, {left_out} failed{done}")
    for reason, count in _by_count(report.reasons)[:REASONS]:
        print(f"    {count} x {reason}")
    if left_out:
        print(f"    each with its reason in {storage.join(root, report.name)}; --retry tries again")
    if report.mended:
        repaired = sum(bool(outcome.mended) for outcome in report.outcomes)
        print(f"{repaired} records were repaired; `mended` in {storage.join(root, report.name)} says how")
        print("\n".join(f"    {count} x {kind}" for kind, count in _by_count(report.mended)))
    for stage, facts in shard_facts(storage.normal(root)).items():
        if facts["files"]:
            print(f"shards/{stage}: {facts['files']} files, {facts['samples']} samples, {facts['tasks']} tasks")
    return report.packed > 0


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
