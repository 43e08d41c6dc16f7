"""Forecasts and their scores as text, for `ola plan`, `ola run --dry-run` and `ola status`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from manifests.ledger import Counts
from pipeline.forecast.estimate import Estimate
from pipeline.forecast.forecast import Forecast, Score, read_forecast, score_forecast
from pipeline.plan import Plan

UNITS = {"bytes": (1e6, " MB"), "seconds": (1.0, " s")}


def forecast_lines(forecast: Forecast, names: Iterable[str] | None = None) -> list[str]:
    """Return a line for each value with its interval. names: of the values that are shown; None: all."""
    lines = [f"{forecast.probed:,} of {forecast.sources:,} sources were probed; rates are from {forecast.origin}"]
    lines += [f"    {count:,} x {' '.join(reason.split())}" for reason, count in sorted(forecast.bad.items())]
    lines += [f"{'':<26}{'likely':>14}{'least':>14}{'most':>14}"]
    shown = [name for name in names or forecast.values if name in forecast.values]
    for name in shown:
        likely, least, most = (amount_text(name, value) for value in _ordered(forecast.values[name]))
        lines.append(f"{name:<26}{likely:>14}{least:>14}{most:>14}")
    return lines


def _ordered(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.middle, estimate.low, estimate.high


def amount_text(name: str, value: float) -> str:
    """Return an amount with its unit: three digits, and whole from 1,000 on."""
    scale, unit = UNITS.get(name.partition(":")[0], (1.0, ""))
    number = value / scale
    if number >= 1000 or (not unit and number == int(number)):
        return f"{number:,.0f}{unit}"
    digits = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{number:.{min(6, max(0, digits))}f}{unit}"


def forecast_scores(plan: Plan, counts: Sequence[tuple[str, Counts]]) -> list[Score]:
    """Score the root's forecast against the run; empty without a forecast or before each step is whole."""
    forecast = read_forecast(plan.root)
    parts = set(plan.sources.committed())
    if forecast is None or not parts or any(parts - set(planned.manifest.committed()) for planned in plan.steps):
        return []
    return score_forecast(plan, forecast, counts)


def score_facts(scores: Sequence[Score]) -> list[dict[str, str | float | bool]]:
    """Return the scores for `ola status --json`."""
    return [
        {"name": each.name, **asdict(each.forecast), "actual": each.actual, "within": each.is_within} for each in scores
    ]


def score_lines(scores: Sequence[Score]) -> list[str]:
    """Return lines about the scores: how many values were in their intervals, and which were not."""
    if not scores:
        return []
    within = sum(score.is_within for score in scores)
    return [
        f"forecast: {within} of {len(scores)} values are in their intervals",
        *(score_line(score) for score in scores if not score.is_within),
    ]


def score_line(score: Score) -> str:
    """Return a line about a value outside of its interval."""
    low, _, high = score.forecast.values()
    actual, least, most = (amount_text(score.name, each) for each in (score.actual, low, high))
    return f"    {score.name}: {actual}, forecast {least} to {most}"
