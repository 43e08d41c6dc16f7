"""Find the steps of a plan that will repeat work of the root's last run, and why.

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
from pipeline.plan import Plan, PlannedStep
from pipeline.state.keys import Facts, StoredFacts

LONG = 40  # characters; of longer values only the setting's name is shown
ANNOTATOR = ("model", "dtype", "engine")  # facts of a step that come from the annotator's settings
MISSING = object()


@dataclass(frozen=True)
class RerunStep:
    """A step that will run again. parts: number of parts to repeat. seconds: their former time over all workers."""

    step: str
    why: str
    parts: int
    seconds: float

    def __str__(self) -> str:
        """Return one line: the step, the reason, and the work that will be repeated."""
        done = f"{self.parts} part{'s' * (self.parts != 1)} done, {hours(self.seconds)}"
        return f"{self.step} will run again: {self.why} ({done})"


def hours(seconds: float) -> str:
    """Return a duration as text, in seconds, minutes or hours."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 360 else f"{seconds:.0f} s"


def steps_to_rerun(plan: Plan, remembered: StoredFacts, only: str | None = None) -> list[RerunStep]:
    """Return the steps that will repeat parts, since their keys changed after their last run.

    only: the one step that will run; None for all. Footers of other steps are not read.
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


def _last_folder(plan: Plan, planned: PlannedStep, remembered: StoredFacts) -> str | None:
    """Return the folder of the step's last run; without `keys.json`, the folder with the most parts."""
    name = planned.step.name
    if remembered.last or not storage.exists(storage.join(plan.root, RUN)):
        return remembered.last.get(name)
    pattern = re.compile(rf"\d\d-{re.escape(name)}-([0-9a-f]+)")
    folders = [folder for folder in storage.folders(plan.root) if pattern.fullmatch(folder)]
    if planned.manifest.folder in folders:
        return planned.manifest.folder
    return max(folders, key=lambda folder: len(_manifest_of(planned, folder).committed()), default=None)


def _manifest_of(planned: PlannedStep, folder: str) -> Manifest:
    number, _, rest = folder.partition("-")
    name, _, key = rest.rpartition("-")
    return Manifest(planned.manifest.root, int(number), name, key, planned.manifest.record)


def _lost_parts(planned: PlannedStep, last: Manifest) -> dict[int, Counts]:
    """Return the counts of the parts that the last run committed and that the new key lacks."""
    counts = last.more_counts(planned.manifest.committed().keys())
    return {part: of_part for part, of_part in counts.items() if isinstance(of_part, Counts)}


def _reason(planned: PlannedStep, old: Facts | None, earlier: list[str]) -> str:
    if old is None:
        return "the root does not tell what it was done with (no keys.json)"
    if changed := changes(planned.step.name, old, planned.facts):
        return ", ".join(changed)
    return f"{earlier[-1]} runs again before it" if earlier else "what comes before it has changed"


def changes(step: str, old: Facts, new: Facts) -> list[str]:
    """Return the differences between two facts of a step, by the names of their settings."""
    was, now = _flatten(old), _flatten(new)
    differing = [path for path in {**now, **was} if was.get(path, MISSING) != now.get(path, MISSING)]
    return [_describe_change(step, path, was, now) for path in differing if path not in (("before",), ("step",))]


def _flatten(facts: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in facts.items():
        flat.update(_flatten(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value})
    return flat


def _describe_change(step: str, path: tuple[str, ...], was: Mapping[Any, Any], now: Mapping[Any, Any]) -> str:
    name = _setting_name(step, path)
    texts = [str(values.get(path, "not there")) for values in (was, now)]
    is_text = path[0] in ("prompts", "later_prompts", "model")
    is_short = not is_text and all(0 < len(text) <= LONG and "\n" not in text for text in texts)
    return f"{name} {texts[0]} -> {texts[1]}" if is_short else f"{name} changed"


def _setting_name(step: str, path: tuple[str, ...]) -> str:
    if path[0] in ("prompts", "later_prompts"):
        return ".".join(("prompts", *path[1:]))
    if path == ("version",):
        return f"version of {step}"
    if path == ("model",):
        return "weights of annotator.model"
    if path[0] in ANNOTATOR:
        return "annotator." + ".".join(path)
    return ".".join((step, *(path[1:] if path[0] == "settings" else path)))
