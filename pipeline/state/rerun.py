"""Which steps of a plan will do work again that the root's last run has done already, and why.

for again in what_runs_again(plan, keys.load(root)):
    print(again)              # split will run again: split.longest 30.0 -> 20.0 (12 parts done, 3.4 hours)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manifests import storage
from manifests.ledger import Counts, Manifest
from pipeline.config import RUN
from pipeline.plan import Plan, Planned
from pipeline.state.keys import Facts, Remembered

LONG = 40  # characters of a value beyond which only its name is told
ANNOTATOR = ("model", "dtype", "engine")  # facts of a step that are settings of the annotator
MISSING = object()


@dataclass(frozen=True)
class RerunStep:
    """A step that will run again. parts: that it had done; seconds: what they took, all workers together."""

    step: str
    why: str
    parts: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        done = f"{self.parts} part{'s' * (self.parts != 1)} done, {hours(self.seconds)}"
        return f"{self.step} will run again: {self.why} ({done})"


def hours(seconds: float) -> str:
    """A time in the unit that suits it."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 360 else f"{seconds:.0f} s"


def steps_to_rerun(plan: Plan, remembered: Remembered, only: str | None = None) -> list[RerunStep]:
    """The steps whose key changed since their last run, and that have parts to do which they had done.

    only: the one step that will run, if not all do. Footers are read of no other steps.
    """
    found: list[RerunStep] = []
    for planned in plan.steps:
        if only not in (None, planned.step.name):
            continue
        last = _last_folder(plan, planned, remembered)
        if last is None or last == planned.manifest.folder:
            continue
        counts = _lost_parts(planned, _manifest_of(planned, last))
        if counts:
            why = _reason(planned, remembered.facts.get(last), [again.step for again in found])
            found.append(RerunStep(planned.step.name, why, len(counts), Counts.sum(counts.values()).seconds))
    return found


def _last_folder(plan: Plan, planned: Planned, remembered: Remembered) -> str | None:
    """The folder that the step used last; of a root without `keys.json` the one with most parts."""
    name = planned.step.name
    if remembered.last or not storage.exists(storage.join(plan.root, RUN)):
        return remembered.last.get(name)
    pattern = re.compile(rf"\d\d-{re.escape(name)}-([0-9a-f]+)")
    there = [folder for folder in storage.folders(plan.root) if pattern.fullmatch(folder)]
    if planned.manifest.folder in there:
        return planned.manifest.folder
    return max(there, key=lambda folder: len(_manifest_of(planned, folder).committed()), default=None)


def _manifest_of(planned: Planned, folder: str) -> Manifest:
    number, _, rest = folder.partition("-")
    name, _, key = rest.rpartition("-")
    return Manifest(planned.manifest.root, int(number), name, key, planned.manifest.record)


def _lost_parts(planned: Planned, last: Manifest) -> dict[int, Counts]:
    """Counts of the parts that the last run had done, and that are not there under the new key."""
    counts = last.more_counts(planned.manifest.committed().keys())
    return {part: of_part for part, of_part in counts.items() if isinstance(of_part, Counts)}


def _reason(planned: Planned, old: Facts | None, earlier: list[str]) -> str:
    if old is None:
        return "the root does not tell what it was done with (no keys.json)"
    if changed := changes(planned.step.name, old, planned.facts):
        return ", ".join(changed)
    return f"{earlier[-1]} runs again before it" if earlier else "what comes before it has changed"


def changes(step: str, old: Facts, new: Facts) -> list[str]:
    """What is different between two facts of a step, each under the name that a user knows it by."""
    was, now = _flat(old), _flat(new)
    differing = [path for path in {**now, **was} if was.get(path, MISSING) != now.get(path, MISSING)]
    return [_change(step, path, was, now) for path in differing if path not in (("before",), ("step",))]


def _flat(facts: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in facts.items():
        flat.update(_flat(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value})
    return flat


def _change(step: str, path: tuple[str, ...], was: Mapping[Any, Any], now: Mapping[Any, Any]) -> str:
    name = _name(step, path)
    texts = [str(values.get(path, "not there")) for values in (was, now)]
    told = path[0] not in ("prompts", "model") and all(0 < len(text) <= LONG and "\n" not in text for text in texts)
    return f"{name} {texts[0]} -> {texts[1]}" if told else f"{name} changed"


def _name(step: str, path: tuple[str, ...]) -> str:
    if path[0] == "prompts":
        return ".".join(path)
    if path == ("version",):
        return f"version of {step}"
    if path == ("model",):
        return "weights of annotator.model"
    if path[0] in ANNOTATOR:
        return "annotator." + ".".join(path)
    return ".".join((step, *(path[1:] if path[0] == "settings" else path)))
