"""Commands that run the pipeline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.commands import Config, Sets
from pipeline.cli.exit_codes import GOOD, POOR
from pipeline.engine.signals import exit_in_one_line
from pipeline.errors import ConfigError

PANEL = "Run"
SAMPLE, CARD = 200, "h100"  # of a forecast
app = typer.Typer()


class EngineName(StrEnum):
    """Where the steps run."""

    INLINE = "inline"
    RAY = "ray"


@app.command("run", rich_help_panel=PANEL)
def run_command(  # noqa: PLR0913, PLR0917  one parameter a flag is how typer declares a command
    inputs: Annotated[list[str] | None, typer.Argument(help="Files, folders, globs, URIs, or lists of them.")] = None,
    root: Annotated[str, typer.Option(help="Folder or URI (s3://…, gs://…) of the run.")] = "",
    config: Config = None,
    overrides: Sets = None,
    engine: Annotated[EngineName | None, typer.Option(help="inline: in this process; ray: on a Ray cluster.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Workers of each step under ray; 0: as many as are useful.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Most videos in the whole run, drawn from all of the input by their names."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Run this step only.")] = None,
    retry: Annotated[bool, typer.Option(help="Run failed records again.")] = False,
    min_yield: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 1 if a smaller share of the videos reaches the shards.")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before finished work is done again.")] = False,
    metrics: Annotated[Path | None, typer.Option(help="Write counters for Prometheus into this file (*.prom).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the plan, print a forecast in brief, and run nothing.")
    ] = False,
) -> None:
    """Run videos through all steps into shards. Run it again to process only what is new, changed or unfinished."""
    from pipeline.cli.plan import machines_of, show_plan
    from pipeline.cli.run import run_and_report
    from pipeline.engine.engines import remove_own_ray_folder
    from pipeline.run import Options

    if not root:
        raise ConfigError("--root: expected the folder or URI of the run, got nothing; do --root FOLDER")
    flags = {"engine": engine.value if engine else None, "workers": workers}
    sets = [*(overrides or ()), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    if dry_run:
        show_plan(inputs or [], root, config, sets, machines_of(None, 0, CARD, ""), SAMPLE, 0, brief=True)
        return
    options = Options(limit, only, retry)
    with exit_in_one_line("what is committed stays; give the same command again to go on", remove_own_ray_folder):
        raise typer.Exit(run_and_report(inputs or [], root, config, sets, options, min_yield, yes, metrics))


@app.command(rich_help_panel=PANEL)
def plan(  # noqa: PLR0913, PLR0917  one parameter a flag is how typer declares a command
    inputs: Annotated[list[str] | None, typer.Argument(help="Files, folders, globs, URIs, or lists of them.")] = None,
    root: Annotated[str, typer.Option(help="Folder or URI of the run; its earlier run gives the rates.")] = "",
    config: Config = None,
    overrides: Sets = None,
    sample: Annotated[int, typer.Option(min=1, help="Most sources that are probed.")] = SAMPLE,
    seed: Annotated[int, typer.Option(help="Seed by which they are drawn.")] = 0,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPU cores; default: those of this machine.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs.")] = 0,
    card: Annotated[str, typer.Option(help="Kind of GPU: h100, h200, a100 or l40s.")] = CARD,
    price: Annotated[str, typer.Option(help="Prices, as cpu-hour=0.05,gpu-hour=2.5.")] = "",
) -> None:
    """Forecast a run from a sample of its videos: hours, clips, tasks, tokens, time, bytes, price, with intervals."""
    from pipeline.cli.plan import machines_of, show_plan

    if not root:
        raise ConfigError("--root: expected the folder or URI of the run, got nothing; do --root FOLDER")
    machines = machines_of(cpus, gpus, card, price)
    show_plan(inputs or [], root, config, overrides or (), machines, sample, seed)


@app.command(rich_help_panel=PANEL)
def doctor(
    config: Config = None,
    root: Annotated[str, typer.Option(help="Folder or URI of the run; its settings are used.")] = "",
    model: Annotated[str, typer.Option(help="Folder of the model's weights (annotator.model).")] = "",
    overrides: Sets = None,
) -> None:
    """Check machine, GPUs, store and cluster for a run with these settings. Exit 1 if something is missing."""
    from pipeline.cli.doctor import examine

    raise typer.Exit(GOOD if examine(config, root, model, overrides or ()) else POOR)
