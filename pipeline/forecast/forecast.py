"""Make a forecast of a run, keep it in the root, and score it against what the run did.

<root>/forecast.json    the last forecast of `ola plan`
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from manifests import blocks, storage, views
from manifests.ledger import Counts
from pipeline.config import Config
from pipeline.forecast.estimate import Estimate, total
from pipeline.forecast.ratios import TOKENS, Ratios, folder_bytes, part_count, ratios_for
from pipeline.forecast.sampled import Sample, probe_sample
from pipeline.monitoring.progress import keeps_tokens, sum_tokens
from pipeline.pack.candidates import is_packable
from pipeline.pack.publish import own_sets
from pipeline.plan import Plan
from pipeline.run import all_manifests

FILE = "forecast.json"


@dataclass(frozen=True)
class Machines:
    """What a run may use, and the price of an hour of each in any currency. card: see `rates.yaml`."""

    cpus: int
    gpus: int = 0
    card: str = "h100"
    cpu_price: float = 0.0
    gpu_price: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """Estimates by name, in the order in which they are shown. origin: of the ratios, in words.

    sources, probed: number of sources, and of those that were probed. bad: reasons of the probed ones that are no good.
    """

    values: Mapping[str, Estimate]
    origin: str
    sources: int
    probed: int
    bad: Mapping[str, int]


def make_forecast(config: Config, plan: Plan, machines: Machines, count: int, seed: int) -> Forecast:
    """Probe a sample of the inputs, and forecast the run. Raises ConfigError without inputs."""
    sample = probe_sample(config, count, seed)
    ratios = ratios_for(plan, config, sample, machines.card)
    values = {"videos": sample.videos, "hours": sample.total_hours, "seconds: ingest": sample.ingest_seconds}
    values = {**values, **ratios.amounts}
    values["objects"] = _objects(config, plan, sample, values)
    return Forecast(values | _times(values, ratios, machines), ratios.origin, sample.sources, sample.probed, sample.bad)


def _objects(config: Config, plan: Plan, sample: Sample, values: Mapping[str, Estimate]) -> Estimate:
    """Return the number of files: between all parts compacted and none, with tars and shards."""
    parts, steps = part_count(plan, config, sample), len(plan.steps)
    whole, rest = divmod(parts, blocks.BLOCK)
    files = Estimate(1 + steps * (whole + bool(rest)), 1 + steps * (whole + rest), 1 + steps * (parts + whole))
    media = values.get("bytes: extract", Estimate(0, 0, 0))
    shards = Estimate(*(2 + 3 * (1 + 2 * math.ceil(size / (config.pack.shard_mb << 20))) for size in media.values()))
    tars = Estimate(min(parts, sample.videos.low), parts, 2 * parts)
    return total([files, tars, shards if is_packable(plan) else Estimate(0, 0, 0)])


def _times(values: Mapping[str, Estimate], ratios: Ratios, machines: Machines) -> dict[str, Estimate]:
    """Return hours of CPUs and GPUs, of the run, and its price. Lanes work beside each other."""
    of_steps = {name: each for name, each in values.items() if name.startswith("seconds: ")}
    gpu = total(ratios.gpu.values()) * (1 / 3600)
    on_cpu = [each for name, each in of_steps.items() if name.removeprefix("seconds: ") not in ratios.gpu]
    cpu = total(on_cpu) * (1 / 3600)
    lanes = [cpu * (1 / machines.cpus), gpu * (1 / max(1, machines.gpus))]
    wall = Estimate(max(each.low for each in lanes), max(each.middle for each in lanes), total(lanes).high)
    price = machines.cpus * machines.cpu_price + machines.gpus * machines.gpu_price
    found = {"CPU-hours": cpu, "wall hours": wall}
    return found | ({"GPU-hours": gpu} if ratios.gpu else {}) | ({"price": wall * price} if price else {})


def store_forecast(root: str, forecast: Forecast) -> None:
    """Write the forecast into the root."""
    facts = asdict(forecast) | {"values": {name: each.values() for name, each in forecast.values.items()}}
    storage.write_bytes(storage.join(storage.normal(root), FILE), json.dumps(facts, indent=2).encode())


def read_forecast(root: str) -> Forecast | None:
    """Return the forecast of a root; None if there is none."""
    uri = storage.join(storage.normal(root), FILE)
    if not storage.exists(uri):
        return None
    facts: dict[str, Any] = json.loads(storage.read_bytes(uri))
    return Forecast(**facts | {"values": {name: Estimate(*each) for name, each in facts["values"].items()}})


@dataclass(frozen=True)
class Score:
    """A forecast value beside what the run came to."""

    name: str
    forecast: Estimate
    actual: float

    @property
    def is_within(self) -> bool:
        """Return whether the actual value is in the interval."""
        return self.actual in self.forecast


def score_forecast(plan: Plan, forecast: Forecast, counts: Sequence[tuple[str, Counts]]) -> list[Score]:
    """Return each forecast value that the run has measured. counts: of all steps, as `ola status` has them."""
    actual: dict[str, float] = {f"seconds: {name}": each.seconds for name, each in counts}
    with views.connect(plan.root, all_manifests(plan), own_sets(plan.root), []) as connection:
        made = views.names(connection)
        if "ingest" in made:
            query = "SELECT count(*), coalesce(sum(duration), 0) / 3600 FROM ingest WHERE status = 'ok'"
            actual["videos"], actual["hours"] = connection.sql(query).fetchall()[0]
        if "split" in made:
            ((actual["clips"],),) = connection.sql("SELECT count(*) FROM split WHERE status = 'ok'").fetchall()
        if "pack" in made:
            query = "SELECT kind, count(*) FROM pack WHERE status = 'ok' GROUP BY ALL"
            kinds = dict(connection.sql(query).fetchall())
            actual |= {name: kinds.get(name[7:], 0) for name in forecast.values if name.startswith("tasks: ")}
        asking = [p.step.name for p in plan.steps if keeps_tokens(p.manifest.record) and p.step.name in made]
        tokens = [sum_tokens(connection, name) for name in asking]
    actual |= {f"tokens {name}": sum(each[column] for each in tokens) for name, column in TOKENS.items() if tokens}
    actual |= {f"bytes: {p.step.name}": folder_bytes(plan.root, p.manifest.folder) for p in plan.steps}
    folders = [*(each.folder for each in all_manifests(plan)), *own_sets(plan.root).values()]
    actual["objects"] = sum(len(storage.listing(storage.join(plan.root, folder))) for folder in folders)
    return [Score(name, each, actual[name]) for name, each in forecast.values.items() if name in actual]
