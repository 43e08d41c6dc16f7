"""`ola run`: load the settings, run with live progress, and report the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from manifests import retries, storage, views
from manifests.ledger import Damaged
from manifests.retries import Tally
from manifests.snapshot import snapshot
from pipeline import config as configuration
from pipeline.cli.damaged import collect_damage
from pipeline.cli.status import funnel
from pipeline.cli.tables import output_width
from pipeline.config import Config
from pipeline.errors import ConfigError, PartsSetAside
from pipeline.monitoring.metrics_file import MetricsFile
from pipeline.monitoring.progress import Progress
from pipeline.pack.candidates import is_packable
from pipeline.pack.publish import current_manifest, own_sets
from pipeline.plan import Plan
from pipeline.run import PACK, Options, run, totals
from pipeline.sources import not_media
from pipeline.state import keys
from pipeline.state.ledger_law import read_counts
from pipeline.state.rerun import RerunStep, hours, steps_to_rerun
from pipeline.steps.transcribe import LISTENERS, NO_SUBTITLES


@snapshot()
def run_and_report(
    inputs: Sequence[str],
    root: str,
    file: str | None,
    sets: Sequence[str],
    options: Options,
    min_yield: float,
    yes: bool = False,
    metrics: Path | None = None,
) -> int:
    """Run the pipeline and print a report. Return the exit code: 0, or 1 if the yield is below `min_yield`.

    yes: repeat work without asking. metrics: file for Prometheus.
    Raises ConfigError if the user refuses to repeat work.
    """
    config = settings(inputs, root, file, sets).with_weights()
    console = Console()
    plan, aside = config.plan(root), None
    again = steps_to_rerun(plan, keys.load(root), options.only)
    for line in again:
        console.print(str(line), markup=False, highlight=False, soft_wrap=True)
    if not yes:
        confirm_rerun(again, config.ask_above_hours)
    try:
        with MetricsFile(metrics), Progress(plan, console, config.engine == "ray"):
            plan = run(config, root, options)
    except PartsSetAside as error:
        aside = error
    console.print(funnel(totals(plan, read_counts(plan).counts), output_width()), markup=False, highlight=False)
    with collect_damage() as damaged:
        records, given, noun = run_yield(plan, options.only, damaged)
    share = records / given if given else 0.0
    console.print(f"{records} of {given} {noun} ({share:.0%})", highlight=False)
    for note in (not_media.summary(not_media.read(plan.root)), listening_warning(plan)):
        if note:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
    if number := retries.tally.take():
        console.print(str(Tally(number)), highlight=False)
    if aside is not None:
        raise aside
    if records == 0 or share < min_yield:
        bound = "zero" if records == 0 else f"under {min_yield:.0%}"
        console.print(f"the yield is {bound}: `ola status` and `ola why` tell where it went", highlight=False)
        return 1
    return 0


def confirm_rerun(again: Sequence[RerunStep], limit: float) -> None:
    """Ask for confirmation if the work to be repeated took more than `limit` hours.

    Raises ConfigError if the answer is no, or without a terminal.
    """
    seconds = sum(each.seconds for each in again)
    if seconds <= limit * 3600:
        return
    if sys.stdin.isatty():
        if not typer.confirm(f"Do {hours(seconds)} of work again?"):
            raise ConfigError("nothing has run")
        return
    names = ", ".join(each.step for each in again)
    raise ConfigError(
        f"{names} would run again, which took {hours(seconds)}; do `ola run` with --yes to go on, or undo the change "
        f"(asked above ask_above_hours={limit:g})"
    )


def listening_warning(plan: Plan) -> str:
    """Return a warning if most clips have no subtitles and no source of `transcribe` is a recogniser; else ""."""
    planned = next((planned for planned in plan.steps if planned.step.name == "transcribe"), None)
    if planned is None or set(planned.step.settings.sources) & set(LISTENERS):
        return ""
    total = planned.manifest.total()
    silent = total.reasons.get(NO_SUBTITLES, 0)
    if not silent or silent < total.inputs / 2:
        return ""
    return (
        f"{silent} of {total.inputs} clips have no subtitles, and nothing listens to them: install the extra "
        "ola-pipeline[whisperx] and add whisperx to transcribe.sources, or add ola there, with annotator.model"
    )


def settings(inputs: Sequence[str], root: str, file: str | None, sets: Sequence[str]) -> Config:
    """Load the YAML file, or else the settings stored at `root`, then apply overrides and named inputs."""
    stored = storage.join(storage.normal(root), configuration.RUN)
    base = configuration.load_run(root).model_dump(mode="json") if file is None and storage.exists(stored) else {}
    config = configuration.load(file, sets, base)
    named = tuple(storage.normal(name) for name in inputs or config.inputs)
    return config.model_copy(update={"inputs": named})


def run_yield(plan: Plan, only: str | None, damaged: list[Damaged]) -> tuple[int, int, str]:
    """Return (count, total, text): videos that reached the shards, or with `only` the step's `ok` inputs."""
    if only in (None, PACK) and is_packable(plan):
        packed = current_manifest(plan)
        counts = packed.part_counts().values() if packed is not None else ()
        damaged += [each for each in counts if isinstance(each, Damaged)]
        with views.connect(plan.root, [], own_sets(plan.root), damaged) as connection:
            has_shards = "shards" in views.names(connection)
            rows = connection.sql("SELECT count(DISTINCT video) FROM shards").fetchall() if has_shards else [(0,)]
        return rows[0][0], plan.steps[0].manifest.total().inputs, "videos reached the shards"
    planned = plan.find_step(only) if only else plan.steps[-1]
    total = planned.manifest.total()
    return total.ok, total.inputs, f"inputs of '{planned.step.name}' went well"
