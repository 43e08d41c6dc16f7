"""Draw a sample of a run's sources by a seed, and probe it with `ingest` in a temporary root."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.records import Source
from pipeline.config import Config
from pipeline.engine.engines import InlineEngine
from pipeline.errors import ConfigError
from pipeline.forecast.estimate import Estimate, total_of_sample
from pipeline.run import run
from pipeline.sources.discovery import discover
from pipeline.state.container_index import expand_containers


@dataclass(frozen=True)
class Sample:
    """Probed videos of all `sources`. hours: of the good ones; bad: reasons with counts; seconds: of `ingest`."""

    sources: int
    probed: int
    hours: Sequence[float]
    bytes: int
    bad: Mapping[str, int]
    seconds: Sequence[float]

    @property
    def videos(self) -> Estimate:
        """Return the number of good videos."""
        return total_of_sample([1.0] * len(self.hours) + [0.0] * (self.probed - len(self.hours)), self.sources)

    @property
    def total_hours(self) -> Estimate:
        """Return the hours of all good videos."""
        return total_of_sample([*self.hours, *[0.0] * (self.probed - len(self.hours))], self.sources)

    @property
    def ingest_seconds(self) -> Estimate:
        """Return the seconds that `ingest` takes for all sources."""
        found = total_of_sample(list(self.seconds), self.sources)
        return Estimate(found.low / 4, found.middle, found.high * 4)  # the machine may be idler or busier than now


def probe_sample(config: Config, count: int, seed: int) -> Sample:
    """Probe up to `count` sources of the configured inputs. Raises ConfigError without sources."""
    with tempfile.TemporaryDirectory(prefix="ola-plan-") as root:
        names = _sources(config, root)
        if not names:
            raise ConfigError(f"inputs: expected at least one file, got none in {', '.join(config.inputs)}")
        drawn = sorted(names, key=lambda uri: hashlib.sha256(f"{seed} {uri}".encode()).digest())[:count]
        listed = Path(root, "sample.jsonl")  # a list takes names that would be patterns or containers otherwise
        listed.write_text("".join(f"{json.dumps({'path': uri})}\n" for uri in drawn), encoding="utf-8")
        alone = {
            "inputs": (str(listed),),
            "steps": ("ingest",),
            "extra_steps": (),
            "engine": "inline",
            "isolate": True,
        }  # it meets bad files
        probing = config.model_copy(update=alone)
        manifest = run(probing, f"{root}/root").find_step("ingest").manifest
        rows = [row for part in manifest.committed() for row in manifest.read(part).to_pylist()]
        counts = manifest.total()
    good = [row for row in rows if row["status"] == "ok"]
    hours, size = [row["duration"] / 3600 for row in good], sum(row["bytes"] for row in good)
    return Sample(len(names), len(rows), hours, size, dict(counts.reasons), [row["seconds"] for row in rows])


def _sources(config: Config, root: str) -> list[str]:
    """Return the URIs of all sources; containers are opened, and their index is kept in `root` only."""
    found = discover(config.inputs, f"{root}/root", None, config.media_column)
    engine = InlineEngine()
    expanded: Sequence[Source] = expand_containers(found, f"{root}/index", engine.map, config.media_column, set())
    return [source.uri for source in expanded]
