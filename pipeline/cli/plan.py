"""`ola plan`, and `ola run --dry-run` in brief: print what a run would give and take, before it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from manifests.snapshot import snapshot
from pipeline.checkup.cluster import address_of
from pipeline.checkup.needs import needs_of
from pipeline.checkup.upfront import package_faults
from pipeline.cli.forecast_text import forecast_lines
from pipeline.cli.run import settings
from pipeline.errors import ConfigError
from pipeline.forecast.forecast import Machines, make_forecast, store_forecast
from pipeline.forecast.ratios import rates
from pipeline.pack.candidates import is_packable
from pipeline.pack.rules import check_where
from pipeline.state import keys
from pipeline.state.rerun import steps_to_rerun

PRICES = {"cpu-hour": "cpu_price", "gpu-hour": "gpu_price"}
BRIEF = ("videos", "hours", "clips", "CPU-hours", "GPU-hours", "wall hours", "price")


@snapshot()
def show_plan(
    inputs: Sequence[str],
    root: str,
    file: str | None,
    sets: Sequence[str],
    machines: Machines,
    sample: int,
    seed: int,
    brief: bool = False,
) -> None:
    """Print the forecast of a run, and keep it in the root. brief: only its main lines, and keep nothing.

    Raises ConfigError where the plan or the inputs are wrong.
    """
    config = settings(inputs, root, file, sets).with_weights()
    plan = config.plan(root)
    if is_packable(plan):
        check_where(plan, config.pack)
    if brief:
        print(f"steps: {', '.join(planned.step.name for planned in plan.steps)}")
        for rerun in steps_to_rerun(plan, keys.load(root), None):
            print(rerun)
        for fault in package_faults(needs_of(config)) if not address_of(config) else ():
            print(fault)
    forecast = make_forecast(config, plan, machines, sample, seed)
    for line in forecast_lines(forecast, BRIEF if brief else None):
        print(line)
    if not brief:
        store_forecast(root, forecast)
        print(f"{machines.cpus} CPUs, {machines.gpus} GPUs ({machines.card}); ola status compares this with the run")


def parse_price(text: str) -> dict[str, float]:
    """Parse prices such as `cpu-hour=0.05,gpu-hour=2.5` into fields of Machines. Raises ConfigError."""
    found = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        try:
            found[PRICES[name.strip()]] = float(value)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"--price: expected cpu-hour=NUMBER,gpu-hour=NUMBER, got {text!r}") from error
    return found


def machines_of(cpus: int | None, gpus: int, card: str, price: str) -> Machines:
    """Return the given machines; by default the CPUs of this one. Raises ConfigError for a card without rates."""
    if card not in (known := rates()["cards"]):
        raise ConfigError(f"--card: expected {', '.join(known)}, got {card!r}")
    return Machines(cpus or os.cpu_count() or 1, gpus, card, **parse_price(price))
