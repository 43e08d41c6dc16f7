"""What a pack depends on, except for its data: its settings, prompts and tables."""

from __future__ import annotations

from typing import Any

from pipeline.pack.benchmark_text import benchmarks_digest
from pipeline.pack.presets import PRESETS
from pipeline.pack.settings import NO_BALANCE, PackSettings
from pipeline.plan import Plan
from pipeline.prompts import prompt
from pipeline.sources.given import table
from stages.samples import MADE

VERSION = 4


def pack_facts(plan: Plan, settings: PackSettings) -> dict[str, Any]:
    """Return what a pack depends on, except for its data."""
    texts = {kind: prompt(kind) for kind in MADE if not kind.endswith("_qa")}
    values = settings.model_dump(mode="json")
    facts = {"step": "pack", "version": VERSION, "settings": values, "prompts": texts}
    if settings.judges == "witnesses":
        del values["judges"]  # keeps the key of packs made before this setting existed
    if settings.evidence == "found":
        del values["evidence"]
    if settings.given:
        texts["given_caption"] = prompt("given_caption")
        facts["given"] = table()
    else:
        del values["given"]  # keeps the key of packs made before this setting existed
    if settings.benchmarks:
        values["benchmarks"] = benchmarks_digest(settings.benchmarks)
    else:
        del values["benchmarks"]
    if settings.preset == "none":
        del values["preset"]
    else:
        values["preset"] = [each.sql for each in PRESETS[settings.preset]]
    if not settings.licence:
        del values["licence"]
    if settings.balance == NO_BALANCE:
        del values["balance"]
    return {**facts, "before": plan.key}
