"""Read trainings and evaluations below a folder, for the report: losses, rates, mixes, and scores with intervals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.errors import ConfigError
from pipeline.report.reviews import wilson

Line = list[tuple[float, float]]
POINTS = 400  # of a line; longer ones are thinned
Z = 1.96


@dataclass(frozen=True)
class PhaseCurves:
    """A phase: loss by kind and in all, rate by module, the planned and the realised mix of kinds.

    planned: empty where the recipe takes tasks as they come.
    """

    name: str
    steps: int
    losses: Mapping[str, Line]
    rates: Mapping[str, Line]
    planned: Mapping[str, float]
    realised: Mapping[str, float]


@dataclass(frozen=True)
class SuiteScore:
    """The score of a model in a suite, 0..1, with an interval of 95 %. falls: lower is better."""

    model: str
    suite: str
    metric: str
    falls: bool
    value: float
    low: float
    high: float
    questions: int


def read_training(folder: Path) -> tuple[list[PhaseCurves], list[SuiteScore]]:
    """Return the phases and the suites below a folder. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"--training: expected the folder of a training or of evaluations, got {str(folder)!r}")
    logs = sorted({path.parent.parent for path in folder.rglob("log/step-*.parquet")})
    results = sorted(folder.rglob("results.json"))
    if not logs and not results:
        raise ConfigError(f"--training {folder}: expected log/step-*.parquet or results.json below it, got neither")
    scores = [score for file in results for score in _read_scores(folder, file)]
    return [_read_phase(folder, log) for log in logs], scores


def _read_phase(folder: Path, phase: Path) -> PhaseCurves:
    rows = [row for file in sorted((phase / "log").glob("step-*.parquet")) for row in pq.read_table(file).to_pylist()]
    rows.sort(key=lambda row: row["step"])
    losses: dict[str, Line] = {"all": [(row["step"], row["loss"]) for row in rows]}
    rates: dict[str, Line] = {}
    for row in rows:
        for lines, pairs in ((losses, row["by_kind"]), (rates, row["rates"])):
            for pair in pairs:
                lines.setdefault(pair["name"], []).append((row["step"], pair["value"]))
    name = str(phase.relative_to(folder)) if phase != folder else phase.name
    steps = rows[-1]["step"] if rows else 0
    return PhaseCurves(name, steps, _thinned(losses), _thinned(rates), _planned(phase), _realised(phase))


def _thinned(lines: Mapping[str, Line]) -> dict[str, Line]:
    """Return lines of at most POINTS points, each the mean of as many."""
    return {name: _thin(line) for name, line in lines.items()}


def _thin(line: Line) -> Line:
    size = -(-len(line) // POINTS)
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _planned(phase: Path) -> dict[str, float]:
    states = sorted(phase.glob("step-*/training.json"))
    facts = json.loads(states[-1].read_text(encoding="utf-8"))["facts"]["phase"] if states else {}
    shares, replay = facts.get("tasks"), facts.get("replay") or {}
    if not isinstance(shares, dict):
        return {}
    own = 1 - sum(replay.values())
    return {kind: share * own for kind, share in shares.items()} | {f"replay {k}": v for k, v in replay.items()}


def _realised(phase: Path) -> dict[str, float]:
    """Return the shares of kinds among the tasks read; a task's id is `<clip>-<kind>-<number>`."""
    counts: Counter[str] = Counter()
    for file in sorted((phase / "read").glob("step-*.parquet")):
        counts.update(str(task).rsplit("-", 2)[-2] for task in pq.read_table(file)["task"].to_pylist())
    total = counts.total()
    return {kind: count / total for kind, count in counts.most_common()}


def _read_scores(folder: Path, file: Path) -> list[SuiteScore]:
    model = str(file.parent.relative_to(folder)) if file.parent != folder else folder.name
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return [_score(model, suite, facts, file.parent) for suite, facts in results.items()]


def _score(model: str, suite: str, facts: Mapping[str, Any], folder: Path) -> SuiteScore:
    value, count = float(facts["value"]), int(facts["n"])
    if facts["metric"] == "accuracy":
        low, high = wilson(round(value * count), count)
    else:
        low, high = _mean_interval(value, _answer_scores(folder / "answers" / f"{suite}.parquet"))
    return SuiteScore(model, suite, facts["metric"], bool(facts["falls"]), value, low, high, count)


def _answer_scores(file: Path) -> Sequence[float]:
    return pq.read_table(file, columns=["score"])["score"].to_pylist() if file.is_file() else []


def _mean_interval(value: float, scores: Sequence[float]) -> tuple[float, float]:
    """Return the normal interval of a mean; of fewer than two answers the whole range."""
    if len(scores) < 2:
        return 0.0, 1.0
    mean = sum(scores) / len(scores)
    half = Z * (sum((score - mean) ** 2 for score in scores) / (len(scores) - 1) / len(scores)) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)
