"""The keys of steps, and `<root>/keys.json`, which remembers the facts that each key was made of.

A remembered key stays valid when a newer version of the software adds settings: facts that the remembered ones lack
count as equal where they have their default value. So an upgrade runs a step again only if its result would change.
Roots of versions that wrote no `keys.json` have a `run.yaml`, which tells the settings that their version knew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manifests import storage
from manifests.ledger import digest
from manifests.retries import StoreAway
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.plan import Plan

KEYS = "keys.json"
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Remembered:
    """What `keys.json` holds.

    facts: of each step folder that a run of this root has used, by the folder's name.
    last: the folder that each step used in its last run, by the step's name.
    """

    facts: Mapping[str, Facts] = field(default_factory=dict)
    last: Mapping[str, str] = field(default_factory=dict)


def load(root: str) -> Remembered:
    """Read `keys.json` of a root; empty where there is none. Raises ConfigError where it cannot be read."""
    uri = storage.join(storage.normal(root), KEYS)
    try:
        stored = json.loads(storage.read_bytes(uri))
        return Remembered(dict(stored["facts"]), dict(stored["last"]))
    except (FileNotFoundError, NotADirectoryError):
        return Remembered()
    except StoreAway:
        raise
    except OSError as error:
        raise ConfigError(f"--root {root}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        advice = "restore it, or delete it: new settings then run their steps again"
        raise ConfigError(f"{uri}: expected the facts of keys, got something else; {advice}") from error


def remember_plan(plan: Plan, only: str | None = None) -> None:
    """Add the keys of a plan that begins to run to `keys.json`.

    only: the one step that runs, if not all do."""
    used = {planned.step.name: planned.manifest.folder for planned in plan.steps if only in (None, planned.step.name)}
    facts = {planned.manifest.folder: planned.facts for planned in plan.steps}
    before = load(plan.root)
    _write(plan.root, before, Remembered({**before.facts, **facts}, {**before.last, **used}))


def remember_pack(root: str, folder: str, facts: Facts) -> None:
    """Put the facts of a pack in the place of those of the pack before: with new videos each run has another."""
    before = load(root)
    others = {name: old for name, old in before.facts.items() if old["step"] != facts["step"]}
    _write(root, before, Remembered({**others, folder: facts}, before.last))


def _write(root: str, before: Remembered, after: Remembered) -> None:
    if after != before:
        text = json.dumps({"last": after.last, "facts": after.facts}, ensure_ascii=False, indent=1)
        storage.write_bytes(storage.join(root, KEYS), text.encode())


def key_for(facts: Facts, defaults: Facts, remembered: Mapping[str, Facts]) -> str:
    """Return the key of a step with these facts: a remembered one that still holds, else the digest of the facts.

    facts, defaults: as JSON gives them back. remembered: facts by folder.
    """
    fitting = [folder for folder, old in remembered.items() if _known_facts(facts, defaults, old) == old]
    if not fitting:
        return digest(facts)
    best = max(fitting, key=lambda folder: (_count_facts(remembered[folder]), folder))
    return best.rpartition("-")[2]


def recall_facts(facts: Facts, defaults: Facts, step: str, settings: Facts) -> Facts:
    """Return the facts as the version that wrote a `run.yaml` would have told them.

    settings: that file's, which names every setting of its version: the facts are without others at their defaults.
    """
    section = settings.get(step) or {}
    return _known_facts(facts, defaults, {**settings.get("annotator", {}), **section, "settings": section})


def _known_facts(facts: Facts, defaults: Facts, old: Facts) -> dict[str, Any]:
    """`facts` without those that `old` lacks and that have their default value, section by section."""
    known = {}
    for name, value in facts.items():
        if name not in old:
            if name not in defaults or defaults[name] != value:
                known[name] = value
        elif isinstance(value, dict) and isinstance(old[name], dict):
            inner = defaults.get(name)
            known[name] = _known_facts(value, inner if isinstance(inner, dict) else {}, old[name])
        else:
            known[name] = value
    return known


def _count_facts(facts: Facts) -> int:
    return sum(_count_facts(value) if isinstance(value, dict) else 1 for value in facts.values())
