"""Compute the keys of steps, and store the facts behind each key in `<root>/keys.json`.

A remembered key stays valid if a newer version of the software adds settings: a new fact counts as equal if it has its
default value. So an upgrade runs a step again only if its result would change. Roots of older versions have no
`keys.json`; their `run.yaml` shows which settings the version had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manifests import storage
from manifests.ledger import digest
from manifests.retries import StoreUnreachable
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.plan import Plan

KEYS = "keys.json"
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class StoredFacts:
    """The content of `keys.json`.

    facts: the facts of each step folder that a run has used, by the folder's name.
    last: the folder of each step's last run, by the step's name.
    """

    facts: Mapping[str, Facts] = field(default_factory=dict)
    last: Mapping[str, str] = field(default_factory=dict)


def load(root: str) -> StoredFacts:
    """Read `keys.json` of a root; empty if it does not exist. Raises ConfigError if it cannot be read."""
    uri = storage.join(storage.normal(root), KEYS)
    try:
        stored = json.loads(storage.read_bytes(uri))
        return StoredFacts(dict(stored["facts"]), dict(stored["last"]))
    except (FileNotFoundError, NotADirectoryError):
        return StoredFacts()
    except StoreUnreachable:
        raise
    except OSError as error:
        raise ConfigError(f"--root {root}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        advice = "restore it, or delete it: new settings then run their steps again"
        raise ConfigError(f"{uri}: expected the facts of keys, got something else; {advice}") from error


def remember_plan(plan: Plan, only: str | None = None) -> None:
    """Add the keys of a starting run's plan to `keys.json`.

    only: the one step that runs; None for all."""
    used = {planned.step.name: planned.manifest.folder for planned in plan.steps if only in (None, planned.step.name)}
    facts = {planned.manifest.folder: planned.facts for planned in plan.steps}
    before = load(plan.root)
    _write(plan.root, before, StoredFacts({**before.facts, **facts}, {**before.last, **used}))


def remember_pack(root: str, folder: str, facts: Facts) -> None:
    """Replace the facts of the last pack in `keys.json`: each run with new videos has a new pack folder."""
    before = load(root)
    others = {name: old for name, old in before.facts.items() if old["step"] != facts["step"]}
    _write(root, before, StoredFacts({**others, folder: facts}, before.last))


def _write(root: str, before: StoredFacts, after: StoredFacts) -> None:
    if after != before:
        text = json.dumps({"last": after.last, "facts": after.facts}, ensure_ascii=False, indent=1)
        storage.write_bytes(storage.join(root, KEYS), text.encode())


def key_for(facts: Facts, defaults: Facts, remembered: Mapping[str, Facts]) -> str:
    """Return the key of a step with these facts: a remembered key that is still valid, else the digest of the facts.

    facts, defaults: as parsed JSON. remembered: facts by folder.
    """
    fitting = [folder for folder, old in remembered.items() if _known_facts(facts, defaults, old) == old]
    if not fitting:
        return digest(facts)
    best = max(fitting, key=lambda folder: (_count_facts(remembered[folder]), folder))
    return best.rpartition("-")[2]


def recall_facts(facts: Facts, defaults: Facts, step: str, settings: Facts) -> Facts:
    """Return the facts as the version that wrote `run.yaml` would have computed them.

    settings: those of `run.yaml`, which has every setting of its version; facts about other settings are removed if
    they have their default values.
    """
    section = settings.get(step) or {}
    return _known_facts(facts, defaults, {**settings.get("annotator", {}), **section, "settings": section})


def _known_facts(facts: Facts, defaults: Facts, old: Facts) -> dict[str, Any]:
    """Return `facts` without those that `old` lacks and that have their default value, section by section."""
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
