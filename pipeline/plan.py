"""Build and check the plan of a run: its steps in order, with their keys.

The key of a step is the digest of its facts (name, version, settings, prompts, weights) and of the previous step's
key, or a key that the root remembers for the same facts (`pipeline.state.keys`). The step's manifest is in a folder
named with that key. A step runs again only if its key changes.
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
from pipeline.step import Resources, Step, input_record, record_types

BESIDE = 90  # number of the first step that runs beside the others


@dataclass(frozen=True)
class PlannedStep:
    """A step in a plan: its manifest, the manifests it reads by record type, and its resources.

    facts: the values that the step's key is a digest of, as parsed JSON; `before` is the previous step's key.
    """

    step: Step[Any, Any]
    manifest: Manifest
    reads: Mapping[type, Manifest]
    resources: Resources
    facts: Facts = field(default_factory=dict)

    @property
    def before(self) -> Manifest:
        """Return the manifest whose `ok` rows are the step's inputs."""
        return self.reads[next(iter(record_types(self.step.takes).values()))]

    def inputs(self, part: int, tables_read: dict[Manifest, pa.Table] | None = None) -> list[Any]:
        """Return the step's inputs for one part: a record, or a dataclass of records, per `ok` row of `before`.

        tables_read: tables of this part by manifest; tables that are read are added.
        """
        tables_read = {} if tables_read is None else tables_read
        types = record_types(self.step.takes)
        tables = {record: self._read_records(record, part, tables_read) for record in types.values()}
        first = next(iter(types.values()))
        if "" in types:
            return list(tables[first].values())
        return [self._join_records(record, types, tables) for record in tables[first].values()]

    def _read_records(self, record: type, part: int, tables_read: dict[Manifest, pa.Table]) -> dict[str, Any]:
        manifest = self.reads[record]
        if manifest not in tables_read:
            tables_read[manifest] = manifest.read(part)
        return {each.id: each for each in ok_records(record, tables_read[manifest])}

    def _join_records(self, first: Any, types: Mapping[str, type], tables: Mapping[type, dict[str, Any]]) -> Any:
        """Return the step's input: the first record, and those whose ids it or an earlier one has under their names."""
        joined: dict[str, Any] = {}
        for name, record in types.items():
            holder = next((earlier for earlier in joined.values() if hasattr(earlier, name)), None)
            joined[name] = tables[record][getattr(holder, name)] if joined else first
        return self.step.takes(**joined)

    def input_id(self, value: Any) -> str:
        """Return the id of an input, which its rows have as `input`."""
        return str(input_record(self.step.takes, value).id)


def ok_records(record: type, rows: pa.Table) -> list[Any]:
    """Return the records of the `ok` rows of a table; all rows are, where the table has no column `status`."""
    records: list[Any] = from_rows(record, [row for row in rows.to_pylist() if row.get("status", "ok") == "ok"])
    return records


@dataclass(frozen=True)
class Plan:
    """The sources and all steps of a run below one root, in order."""

    root: str
    sources: SourceManifest
    steps: tuple[PlannedStep, ...]

    @property
    def manifests(self) -> list[Manifest]:
        """Return the manifest of the sources and of every step, in order."""
        return [self.sources, *(planned.manifest for planned in self.steps)]

    @property
    def key(self) -> str:
        """Return the key of the last step that others may build on."""
        keys = [planned.manifest.key for planned in self.steps if not planned.step.beside]
        return keys[-1] if keys else ""

    @property
    def next_number(self) -> int:
        """Return the number after that of the last step, without steps beside the others."""
        return 1 + sum(not planned.step.beside for planned in self.steps)

    def find_step(self, name: str) -> PlannedStep:
        """Return the step with this name. Raises ConfigError."""
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
    """Build the plan of steps below `root`. Raises ConfigError if a step needs records that no earlier step makes.

    remembered: facts by step folder of the root, see `pipeline.state.keys`. stored: the settings in `run.yaml`, for a
    root without `keys.json`.
    """
    root = storage.normal(root)
    sources = SourceManifest(root, 0, "source", "", Source)
    makers: dict[type, Manifest] = {Source: sources}
    planned: list[PlannedStep] = []
    key = ""
    for step in steps:
        step.root = root
        _check_step(step, [before.step.name for before in planned])
        reads = {record: _find_maker(step, record, makers) for record in record_types(step.takes).values()}
        number = sum(each.step.beside is step.beside for each in planned) + (BESIDE if step.beside else 1)
        before = next(iter(reads.values())).key if step.beside else key
        facts = _as_json({**step.facts(), "before": before})
        defaults = _as_json(step.defaults())
        manifest = Manifest(root, number, step.name, key_for(facts, defaults, remembered), step.gives)
        if stored:
            older = replace(manifest, key=digest(recall_facts(facts, defaults, step.name, stored)))
            manifest = older if older.committed() else manifest
        if not step.beside:
            key, makers[step.gives] = manifest.key, manifest
        planned.append(PlannedStep(step, manifest, reads, (resources or {}).get(step.name, step.resources), facts))
    return Plan(root, sources, tuple(planned))


def _as_json(facts: Facts) -> dict[str, Any]:
    """Convert facts as `keys.json` does: tuples become lists."""
    back: dict[str, Any] = json.loads(json.dumps(facts))
    return back


def _check_step(step: Step[Any, Any], before: Sequence[str]) -> None:
    """Raise ConfigError unless the step is unique in the plan and its inputs can be joined by id."""
    if step.name in before:
        raise ConfigError(f"steps: expected each step once, got '{step.name}' twice; remove one")
    earlier: list[type] = []
    for name, record in record_types(step.takes).items():
        if earlier and not any(name in hints(holder) for holder in earlier):
            holders = ", ".join(holder.__name__ for holder in earlier)
            raise ConfigError(
                f"step '{step.name}' takes `{name}: {record.__name__}`: expected a column '{name}' with its id in a "
                f"record before it ({holders}); rename the field or add the column"
            )
        earlier.append(record)


def _find_maker(step: Step[Any, Any], record: type, makers: Mapping[type, Manifest]) -> Manifest:
    if record in makers:
        return makers[record]
    from pipeline.steps import STEPS

    noun = PLURALS.get(record, record.__name__)
    advice = [name for name, step_type in STEPS.items() if step_type.gives is record]
    hint = f" (add '{advice[0]}')" if advice else ""
    raise ConfigError(f"step '{step.name}' needs {noun}; no step before it makes them{hint}")
