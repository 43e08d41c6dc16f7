"""What the keys of a root were made of, so that an upgrade runs nothing again that it does not change.

<root>/keys.json    {"facts": {"02-split-<key>": facts, ...}, "last": [folders of the last run], "pack": {...}}

A setting that a later release adds is no part of keys as long as it stands at its default, which is noted: a default
that changes after that is a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from manifests import storage

FILE = "keys.json"


@dataclass(frozen=True)
class Remembered:
    """The facts of each folder that this root's runs used, by its name; folders of the last run, in order.

    pack: settings of the last pack, and the form in which they stand in its key.
    """

    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    last: tuple[str, ...] = ()
    pack: Mapping[str, Any] = field(default_factory=dict)

    def key_of(self, facts: Mapping[str, Any], settings: BaseModel) -> str | None:
        """The key of a folder that was made of the same facts, but for settings that it did not know; the last first.

        facts: of a step, with the key before it.
        """
        found = dict.fromkeys([*self.last, *reversed(list(self.facts))])
        same = (name for name in found if name in self.facts and equivalent(facts, settings, self.facts[name]))
        return next((name.rpartition("-")[2] for name in same), None)


NOTHING = Remembered()


def equivalent(facts: Mapping[str, Any], settings: BaseModel, before: Mapping[str, Any]) -> bool:
    """Whether facts are what they were before, but for new settings that stand at their defaults."""
    known = known_settings(settings, before.get("settings", {}))
    return bool(plain({**facts, "settings": known}) == before)


def known_settings(settings: BaseModel, before: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that were not there before and stand at their defaults."""
    known = {}
    for name, about in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name not in before and value == about.get_default(call_default_factory=True):
            continue
        nested = isinstance(value, BaseModel) and isinstance(before.get(name), Mapping)
        known[name] = known_settings(value, before[name]) if nested else settings.model_dump(mode="json")[name]
    return known


def plain(facts: Mapping[str, Any]) -> Any:
    """Facts as JSON gives them back."""
    return json.loads(json.dumps(facts, ensure_ascii=False))


def remembered(root: str) -> Remembered:
    """What the root's earlier runs noted; nothing if they were of a release that did not."""
    uri = storage.join(root, FILE)
    stored = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
    return Remembered(stored.get("facts", {}), tuple(stored.get("last", ())), stored.get("pack", {}))


def remember(root: str, found: Remembered) -> None:
    """Note it for later runs; nothing is written where it is known."""
    if found != remembered(root):
        facts = {"facts": found.facts, "last": found.last, "pack": found.pack}
        storage.write_bytes(storage.join(root, FILE), json.dumps(facts, ensure_ascii=False, indent=1).encode())
