"""Commands that train models and measure them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.commands import Device, Dtype
from pipeline.cli.exit_codes import GOOD, POOR
from pipeline.engine.signals import exit_in_one_line

PANEL = "Train"
app = typer.Typer()


@app.command("train", rich_help_panel=PANEL)
def train_command(  # noqa: PLR0913, PLR0917
    recipe: Annotated[str, typer.Argument(help="progressive, direct, balanced, image, video, omni, or a YAML file.")],
    shards: Annotated[list[str], typer.Option(help="Root of a run, or a folder of shards. Repeat.")],
    model: Annotated[str, typer.Option(help="Folder of the weights to start from, or nano.")],
    out: Annotated[str, typer.Option(help="Folder for checkpoints and logs; OUT/model is the last checkpoint.")],
    workers: Annotated[int, typer.Option(min=1, help="Ranks; more than one run on Ray, each on a GPU if any.")] = 1,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as in batch=64 or omni.lr.decoder=1e-5. Repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of the tasks.")] = 0,
    decoders: Annotated[int, typer.Option(min=0, help="Processes of each rank that decode samples.")] = 1,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    live: Annotated[bool, typer.Option(help="Start while the run still writes shards.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard logs too, in OUT/<phase>/board.")] = False,
    tracker: Annotated[
        list[str] | None, typer.Option(help="Send figures to trackio, wandb, mlflow or module:factory. Repeat.")
    ] = None,
) -> None:
    """Train the phases of a recipe on shards. Run it again to continue from the last checkpoint."""
    from pipeline.engine.engines import remove_own_ray_folder

    options: dict[str, Any] = {"seed": seed, "decoders": decoders, "save_every": save_every}
    trackers = (*(["tensorboard"] if tensorboard else []), *(tracker or []))
    options |= {"live": live, "trackers": trackers}
    on = "the step in hand is not saved; give the same command again to go on after the last checkpoint"
    with exit_in_one_line(on, remove_own_ray_folder) as ending:
        from pipeline.cli.train import train_and_report

        where = (recipe, overrides or (), shards, model, out, workers)
        typer.echo(train_and_report(*where, ending.asked, **options))


@app.command(rich_help_panel=PANEL)
def evaluate(  # noqa: PLR0913, PLR0917
    model: Annotated[Path, typer.Option(help="Folder of the weights, or nano.")],
    suite: Annotated[list[str], typer.Option(help="mmbench=TSV, shards=ROOT, avhbench=…, mcq=FILE, … Repeat.")],
    out: Annotated[Path, typer.Option(help="Folder for the answers and results.json.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first questions of each suite.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Most frames of a video; default: as the model.")] = None,
    views: Annotated[
        bool, typer.Option("--views", help="Ask cross-modal questions also with frames or sound alone.")
    ] = False,
    fields: Annotated[
        str, typer.Option("--map", help="Fields of mcq's file: question=Q,options=…,answer=…,video=…,audio=…")
    ] = "",
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Score a model on benchmarks. Run it again to ask only what has no answer. Exit 1 if a suite has no question."""
    from pipeline.cli.evaluate import EvaluationOptions, evaluate

    options = EvaluationOptions(limit, frames, views, device, dtype, fields)
    raise typer.Exit(GOOD if evaluate(model, suite, out, options) else POOR)


@app.command(rich_help_panel=PANEL)
def compare(
    models: Annotated[list[Path], typer.Argument(help="Folders of `ola evaluate`, or their results.json.")],
    png: Annotated[Path | None, typer.Option(help="Draw the scores relative to the first model's here.")] = None,
) -> None:
    """Print the scores of several models side by side, relative to the first."""
    from pipeline.cli.compare import compare

    compare(models, png)
