"""What a run does again that is there already under other settings, why, and how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manifests.ledger import Manifest
from pipeline.keys import known_settings, plain
from pipeline.plan import Plan, Planned


@dataclass(frozen=True)
class Again:
    """A step that runs again: why, for how many parts, and what these took in seconds."""

    step: str
    why: str
    parts: int
    seconds: float

    def __str__(self) -> str:
        took = f"{self.seconds / 3600:.1f} h" if self.seconds >= 360 else f"{self.seconds:.0f} s"
        return f"{self.step} will run again ({self.parts} part{'s' * (self.parts != 1)}, {took} of work): {self.why}"


def what_runs_again(plan: Plan) -> list[Again]:
    """Steps of which the root's last run has parts that this plan does not use, in order."""
    last = {name.split("-")[1]: name for name in plan.remembered.last}
    found: list[Again] = []
    for planned in plan.steps:
        name = planned.step.name
        if name not in last or last[name] == planned.manifest.folder:
            continue
        before = Manifest(plan.root, int(last[name][:2]), name, last[name].rpartition("-")[2], planned.manifest.record)
        parts = before.committed().keys() - planned.manifest.committed().keys()
        if parts:
            facts = plan.remembered.facts.get(last[name], {})
            seconds = sum(before.counts(part).seconds for part in parts)
            found.append(Again(name, "; ".join(_reasons(planned, facts, found)), len(parts), seconds))
    return found


def _reasons(planned: Planned, before: Mapping[str, Any], earlier: list[Again]) -> Iterator[str]:
    """What is not what it was in the facts of a step."""
    step = planned.step
    now = plain({**step.facts(), "settings": known_settings(step.settings, before.get("settings", {}))})
    changed = list(_differences({k: v for k, v in before.items() if k != "before"}, now))
    yield from (f"{step.name}.{line}" for line in changed)
    if not changed:
        yield f"{earlier[-1].step} runs again before it" if earlier else "what comes before it changed"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], under: str = "") -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        path = under if name == "settings" else f"{under}{name}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, path and f"{path}.")
        elif old != new:
            texts = [str(value) for value in (old, new)]
            yield f"{path} {texts[0]} -> {texts[1]}" if max(map(len, texts)) <= 40 else f"{path} changed"
