"""`ola status`: print the outcomes of every step and the contents of the shards."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from manifests import storage
from manifests.ledger import Counts, Damaged
from manifests.snapshot import snapshot
from pipeline.audit.agreement import audit_facts, audit_lines
from pipeline.audit.answers import read_audits
from pipeline.cli.cell_text import duration
from pipeline.cli.forecast_text import forecast_scores, score_facts, score_lines
from pipeline.cli.open_run import has_run, plan_of
from pipeline.cli.tables import output_width
from pipeline.engine import lane_states
from pipeline.monitoring.funnel import group_reasons, read_funnel, shard_facts
from pipeline.monitoring.progress import COUNTS
from pipeline.sources import not_media

REASONS = 8  # lines of reasons in the funnel; `--json` has all


@snapshot()
def show_status(root: str, as_json: bool) -> bool:
    """Print the funnel, the contents of the shards, damaged files and violations of the law of the ledger.

    Return whether there is neither damage nor a violation.
    """
    root = storage.normal(root)
    plan = plan_of(root) if has_run(root) else None
    counts, tokens, faults = read_funnel(plan) if plan else ([], {}, [])
    unread: list[Damaged] = []
    shards, working = shard_facts(root, unread), lane_states.read(root)
    faults += [str(damage) for damage in unread]
    audited = audit_facts(read_audits(root)) if plan else {}
    if as_json:
        steps = [step_facts(*row) | tokens.get(row[0], {}) for row in counts]
        report = {
            "steps": steps,
            "shards": shards,
            "faults": faults,
            "lanes": [asdict(lane) for lane in working],
        }
        report["audit"] = audited
        report["not_media"] = not_media.read(root)
        report["forecast"] = score_facts(forecast_scores(plan, counts)) if plan else []
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return not faults
    if plan:
        print(funnel(counts, output_width()))
    if passed_over := not_media.summary(not_media.read(root)):
        print(passed_over)
    for lane in working:
        print(lane)
    for name, facts in tokens.items():
        asked_tokens, read, written = (f"{facts[count]:,}" for count in COUNTS)
        print(f"{name}: {asked_tokens} tokens asked, {read} read, {written} written")
    for stage, facts in shards.items():
        if facts["files"]:
            sizes = f"{facts['samples']:,} samples, {facts['tasks']:,} tasks, {facts['bytes'] / 1e6:,.1f} MB"
            print(f"shards/{stage}: {facts['files']:,} file{'s' * (facts['files'] != 1)}, {sizes}")
    for line in score_lines(forecast_scores(plan, counts)) if plan else ():
        print(line)
    for line in audit_lines(audited):
        print(line)
    for fault in faults:
        print(fault)
    return not faults


def step_facts(name: str, counts: Counts) -> dict[str, Any]:
    """Return a step's line of the funnel as JSON."""
    return {
        "step": name,
        "inputs": counts.inputs,
        "ok": counts.ok,
        "dropped": counts.dropped,
        "failed": counts.failed,
        "outputs": counts.outputs,
        "reasons": dict(sorted(counts.reasons.items())),
        "seconds": round(counts.seconds, 3),
    }


def funnel(counts: Sequence[tuple[str, Counts]], width: int | None = None) -> str:
    """Return a line per step, each followed by the reasons of dropped and failed inputs. width: to wrap the reasons."""
    heads = ("inputs", "ok", "dropped", "failed", "outputs")
    rows = [(row.inputs, row.ok, row.dropped, row.failed, row.outputs) for _, row in counts]
    size = max((9, *(len(f"{number:,}") + 2 for numbers in rows for number in numbers)))
    lines = [f"{'step':<12}" + "".join(f"{head:>{size}}" for head in heads) + f"{'time':>14}"]
    for (name, row), numbers in zip(counts, rows, strict=True):
        time = f"{row.seconds:.1f} s" if row.seconds < 60 else duration(row.seconds)
        lines.append(f"{name:<12}" + "".join(f"{number:>{size},}" for number in numbers) + f"{time:>14}")
        lines += _reasons(row, width)
    return "\n".join(lines)


def _reasons(counts: Counts, width: int | None) -> list[str]:
    reasons = sorted(group_reasons(counts.reasons).items(), key=lambda pair: (-pair[1], pair[0]))
    lines = [f"    {count:,} x {' '.join(reason.split())}" for reason, count in reasons[:REASONS]]
    if len(reasons) > REASONS:
        lines.append(f"    and {len(reasons) - REASONS} reasons more: `ola status --json` has all")
    indent = " " * 8
    return [part for line in lines for part in textwrap.wrap(line, width or len(line) + 1, subsequent_indent=indent)]
