"""The plan of a run: which steps in which order, under which keys. Checked before anything runs.

The key of a step is the digest of its facts (name, version, settings, prompts, weights) and of the key before it, or
a key that the root remembers for the same facts (`pipeline.state.keys`). Its manifest lies in a folder of that key;
nothing else decides what is stale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from manifests import storage
from manifests.ledger import Manifest, digest
from manifests.records import PLURALS, Source
from manifests.schema import from_rows, hints
from manifests.sources import SourceManifest
from pipeline.errors import ConfigError
from pipeline.state.keys import Facts, key_for, recall_facts
from pipeline.step import Resources, Step, input_record, parts_of


@dataclass(frozen=True)
class Planned:
    """A step in its place: its manifest, the manifests it reads by record type, and what it may use.

    facts: what its key stands for, as JSON gives it back; the key before it is `before`.
    """

    step: Step[Any, Any]
    manifest: Manifest
    reads: Mapping[type, Manifest]
    resources: Resources
    facts: Facts = field(default_factory=dict)

    @property
    def before(self) -> Manifest:
        """The manifest whose records are the inputs, a row each."""
        return self.reads[next(iter(parts_of(self.step.takes).values()))]

    def inputs(self, part: int, held: dict[Manifest, pa.Table] | None = None) -> list[Any]:
        """What the step is given for one part: a record, or a bundle of records, for each `ok` row before it.

        held: rows of this part that are here already; what is read is added.
        """
        held = {} if held is None else held
        wanted = parts_of(self.step.takes)
        tables = {record: self._records(record, part, held) for record in wanted.values()}
        first = next(iter(wanted.values()))
        if "" in wanted:
            return list(tables[first].values())
        return [self._bundle(record, wanted, tables) for record in tables[first].values()]

    def _records(self, record: type, part: int, held: dict[Manifest, pa.Table]) -> dict[str, Any]:
        manifest = self.reads[record]
        if manifest not in held:
            held[manifest] = manifest.read(part)
        rows = [row for row in held[manifest].to_pylist() if row.get("status", "ok") == "ok"]
        records: list[Any] = from_rows(record, rows)
        return {made.id: made for made in records}

    def _bundle(self, first: Any, wanted: Mapping[str, type], tables: Mapping[type, dict[str, Any]]) -> Any:
        """Follow the ids from the first record: a Footage names its clip, the Clip its video."""
        found: dict[type, Any] = {type(first): first}
        for record in wanted.values():
            if record not in found:
                name = record.__name__.lower()
                holder = next(held for held in found.values() if hasattr(held, name))
                found[record] = tables[record][getattr(holder, name)]
        return self.step.takes(**{name: found[record] for name, record in wanted.items()})

    def name_of(self, value: Any) -> str:
        """Id of the input: what its row is named after."""
        return str(input_record(self.step.takes, value).id)


@dataclass(frozen=True)
class Plan:
    """All steps of a run below one root, in order, after the sources."""

    root: str
    sources: SourceManifest
    steps: tuple[Planned, ...]

    @property
    def manifests(self) -> list[Manifest]:
        """The sources and the manifest of every step, in order."""
        return [self.sources, *(planned.manifest for planned in self.steps)]

    @property
    def key(self) -> str:
        """Key of the last step: what follows the plan stands on it."""
        return self.steps[-1].manifest.key if self.steps else ""

    def named(self, name: str) -> Planned:
        """The step of that name."""
        for planned in self.steps:
            if planned.step.name == name:
                return planned
        raise ConfigError(f"no step '{name}' in this run (choices: {', '.join(p.step.name for p in self.steps)})")


def build_plan(
    root: str,
    steps: Sequence[Step[Any, Any]],
    resources: Mapping[str, Resources] | None = None,
    remembered: Mapping[str, Facts] = {},
    stored: Mapping[str, Any] = {},
) -> Plan:
    """Put steps in their place below `root`. Raises ConfigError when one needs what none before it makes.

    remembered: the facts of folders that the root has already, see `pipeline.state.keys`. stored: the settings in
    `run.yaml` of a root that remembers nothing.
    """
    root = storage.normal(root)
    sources = SourceManifest(root, 0, "source", "", Source)
    makers: dict[type, Manifest] = {Source: sources}
    planned: list[Planned] = []
    key = ""
    for number, step in enumerate(steps, start=1):
        step.root = root
        _check(step, [before.step.name for before in planned])
        reads = {record: _maker(step, record, makers) for record in parts_of(step.takes).values()}
        facts = _as_json({**step.facts(), "before": key})
        defaults = _as_json(step.defaults())
        manifest = Manifest(root, number, step.name, key_for(facts, defaults, remembered), step.gives)
        if stored:
            older = replace(manifest, key=digest(recall_facts(facts, defaults, step.name, stored)))
            manifest = older if older.committed() else manifest
        key = manifest.key
        makers[step.gives] = manifest
        planned.append(Planned(step, manifest, reads, (resources or {}).get(step.name, step.resources), facts))
    return Plan(root, sources, tuple(planned))


def _as_json(facts: Facts) -> dict[str, Any]:
    """Facts as they come back from `keys.json`: tuples are lists."""
    back: dict[str, Any] = json.loads(json.dumps(facts))
    return back


def _check(step: Step[Any, Any], before: Sequence[str]) -> None:
    """A step stands in a plan once, and the records it takes together can be found by the ids they name."""
    if step.name in before:
        raise ConfigError(f"step '{step.name}' is there twice; take one of them out of steps")
    held: list[type] = []
    for record in parts_of(step.takes).values():
        if held and not any(record.__name__.lower() in hints(holder) for holder in held):
            names = ", ".join(holder.__name__ for holder in held)
            raise ConfigError(f"step '{step.name}' takes a {record.__name__} that no record before it names: {names}")
        held.append(record)


def _maker(step: Step[Any, Any], record: type, makers: Mapping[type, Manifest]) -> Manifest:
    if record in makers:
        return makers[record]
    from pipeline.steps import STEPS

    noun = PLURALS.get(record, record.__name__)
    advice = [name for name, made in STEPS.items() if made.gives is record]
    hint = f" (add '{advice[0]}')" if advice else ""
    raise ConfigError(f"step '{step.name}' needs {noun}; no step before it makes them{hint}")
