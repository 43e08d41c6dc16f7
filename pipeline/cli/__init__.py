"""The command line `ola`. Each command is a few lines here over a function elsewhere; errors become one line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.exit_codes import GOOD, POOR, errors_in_a_line
from pipeline.cli.world import world
from pipeline.engine.short_tmp import shorten_tmpdir
from pipeline.engine.signals import exit_in_one_line
from pipeline.errors import ConfigError

app = typer.Typer(
    help="From a pile of videos to training shards for Ola, and a look at everything on the way.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(world, name="world")


class EngineName(StrEnum):
    """Who does the work."""

    INLINE = "inline"
    RAY = "ray"


class Format(StrEnum):
    """Forms of a query's answer."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Root = Annotated[str, typer.Argument(help="Folder or URI of the run.")]


@app.command("run")
def run_command(  # noqa: PLR0913, PLR0917  one parameter a flag is how typer declares a command
    inputs: Annotated[list[str] | None, typer.Argument(help="Files, folders, globs, URIs, or lists of them.")] = None,
    root: Annotated[str, typer.Option(help="Where the run lives: a folder or a URI (s3://…, gs://…).")] = "",
    config: Annotated[str | None, typer.Option(help="YAML file of settings.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting: split.longest=20. Repeat.")] = None,
    engine: Annotated[EngineName | None, typer.Option(help="inline: a loop in this process. ray: a cluster.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Of each lane under ray; 0: by what lanes cost.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Videos at most, in the whole run.")] = None,
    only: Annotated[str | None, typer.Option(help="The only step to run.")] = None,
    retry: Annotated[bool, typer.Option(help="Run failed records again.")] = False,
    min_yield: Annotated[float, typer.Option(min=0, max=1, help="Least share of videos in the shards.")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do work again without asking, however long it took.")] = False,
    metrics: Annotated[Path | None, typer.Option(help="Write counters for Prometheus into this file (*.prom).")] = None,
) -> None:
    """Bring videos through all steps into shards; again: only what is new, changed or unfinished."""
    from pipeline.cli.running import run_and_report
    from pipeline.engine.engines import remove_own_ray_folder
    from pipeline.run import Options

    if not root:
        raise ConfigError("--root is missing: where should the run live?")
    flags = {"engine": engine.value if engine else None, "workers": workers}
    sets = [*(overrides or ()), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    options = Options(limit, only, retry)
    with exit_in_one_line("what is committed stays; give the same command again to go on", remove_own_ray_folder):
        raise typer.Exit(run_and_report(inputs or [], root, config, sets, options, min_yield, yes, metrics))


@app.command()
def status(root: Root, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """The funnel: what became of every input of every step, and what the shards hold; exit 1 if records were lost."""
    from pipeline.cli.looking import show_status

    raise typer.Exit(GOOD if show_status(root, as_json) else POOR)


@app.command()
def why(root: Root, name: Annotated[str, typer.Argument(metavar="ID", help="Id, key or path, or its start.")]) -> None:
    """A record's whole life: where it came from, what became of it, and where and why it stopped."""
    from pipeline.cli.looking import show_life

    raise typer.Exit(show_life(root, name))


@app.command()
def sql(
    root: Root,
    query: Annotated[str, typer.Argument(help="DuckDB SQL over the views: a step each, and shards.")],
    form: Annotated[Format, typer.Option("--format", help="Form of the answer.")] = Format.TABLE,
) -> None:
    """Ask the manifests with DuckDB."""
    from pipeline.cli.looking import show_query

    show_query(root, query, form.value)


@app.command()
def whatif(root: Root, where: Annotated[str, typer.Argument(help="In the place of pack.where.")]) -> None:
    """What another pack.where would put into the shards, beside the present one; nothing is run or written."""
    from pipeline.cli.whatif import show_whatif

    show_whatif(root, where)


@app.command()
def check(root: Root) -> None:
    """Read every shard as the trainers will, and name every fault; exit 1 if there is any."""
    from pipeline.pack.check import check_run

    faults = 0
    for fault in check_run(root):
        typer.echo(fault)
        faults += 1
    typer.echo(f"{faults} fault{'s' * (faults != 1)}" if faults else "no fault")
    raise typer.Exit(POOR if faults else GOOD)


@app.command()
def export(
    root: Root,
    file: Annotated[Path, typer.Argument(help="File to write.")],
    to: Annotated[str, typer.Option(help="Form: ola-json, as the original Ola trainer reads it.")] = "ola-json",
) -> None:
    """Write the tasks for another trainer, with references into our tars: no media are copied."""
    from pipeline.pack.export import FORMS

    if to not in FORMS:
        raise ConfigError(f"--to {to}: no such form (choices: {', '.join(FORMS)})")
    typer.echo(f"{FORMS[to](root, file)} tasks in {file}")


@app.command("import")
def import_command(
    file: Annotated[str, typer.Argument(help="Records as JSON (a list), JSONL or Parquet, or a folder of our tars.")],
    root: Annotated[str, typer.Option(help="Where the shards go: a new folder, or that of a run.")],
    media: Annotated[str, typer.Option(help="Folder or URI of the media; default: that of the file.")] = "",
    frames: Annotated[int, typer.Option(min=1, help="Of a video at most.")] = 48,
    val_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the media kept for validation.")] = 0.02,
    strict: Annotated[
        bool, typer.Option(help="The first record that cannot be used as it is, unmended, is an error.")
    ] = False,
    retry: Annotated[bool, typer.Option(help="Anew, if records could not be used the last time.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0: this one.")] = 0,
) -> None:
    """Bring conversations of others and their media into shards, once; exit 1 if none of them can be used."""
    from pipeline.cli.importing import show_import
    from pipeline.importing.importer import Wanted

    wanted = Wanted(file, media, frames, val_share, workers=workers)
    raise typer.Exit(GOOD if show_import(wanted, root, strict, retry) else POOR)


@app.command()
def replay(
    root: Root,
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of a step's input, or its beginning.")],
    step: Annotated[str, typer.Option(help="The step to run again.")],
) -> None:
    """Run one record again and show what comes out differently; nothing is written. Exit 1 if anything does."""
    from pipeline.cli.replay import replay

    raise typer.Exit(GOOD if replay(root, name, step) else POOR)


@app.command("remove")
def remove_command(
    root: Root,
    names: Annotated[list[str] | None, typer.Argument(metavar="ID|URI…", help="Ids, paths or file names.")] = None,
    listed: Annotated[str, typer.Option("--list", metavar="FILE", help="Text file with a name a line.")] = "",
    note: Annotated[str, typer.Option(help="Why: kept in removed.jsonl with your name and the time.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove every trace of videos from a root, and keep them out; without names: finish a removal that was killed."""
    from pipeline.cli.remove import remove_and_report

    remove_and_report(root, names or [], listed, note, yes)


@app.command("clean")
def clean_command(
    root: Root, yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed.")] = False
) -> None:
    """List folders of old keys, old shard sets, left drafts and journals with their sizes; --yes deletes them."""
    from pipeline.cli.clean import clean_and_report

    clean_and_report(root, yes)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="Folder of the weights, or nano.")],
    suite: Annotated[list[str], typer.Option(help="mmbench=TSV, videomme=…, librispeech=…, shards=ROOT. Repeat.")],
    out: Annotated[Path, typer.Option(help="Folder for the answers and results.json.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of each suite at most: the first ones.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Of a video, at most; default: the model's own.")] = None,
    views: Annotated[
        bool, typer.Option("--views", help="Cross-modal questions also with frames or sound alone.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="auto (as stored), bfloat16, float16 or float32.")] = "auto",
) -> None:
    """Ask a model the questions of benchmarks; again: only what is open. Exit 1 if nothing of a suite can be asked."""
    from pipeline.cli.evaluating import Asked, evaluate

    asked = Asked(limit, frames, views, device, dtype)
    raise typer.Exit(GOOD if evaluate(model, suite, out, asked) else POOR)


@app.command()
def compare(
    models: Annotated[list[Path], typer.Argument(help="What `ola evaluate` wrote: folders, or their results.json.")],
    png: Annotated[Path | None, typer.Option(help="Draw scores relative to the first model's into this file.")] = None,
) -> None:
    """The scores of several models side by side, relative to the first."""
    from pipeline.cli.evaluating import compare

    compare(models, png)


@app.command("train")
def train_command(  # noqa: PLR0913, PLR0917
    recipe: Annotated[str, typer.Argument(help="progressive, direct, balanced, image, video, omni, or a YAML file.")],
    shards: Annotated[list[str], typer.Option(help="Root of a run, or a folder of shards. Repeat.")],
    model: Annotated[str, typer.Option(help="Folder of the weights to begin with, or nano.")],
    out: Annotated[str, typer.Option(help="Folder of checkpoints and logs; OUT/model is the last.")],
    workers: Annotated[int, typer.Option(min=1, help="Ranks; more than one run on Ray, with a GPU each if any.")] = 1,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="batch=64, omni.lr.decoder=1e-5. Repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of the tasks.")] = 0,
    decoders: Annotated[int, typer.Option(min=0, help="Processes a rank that decode samples.")] = 1,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    live: Annotated[bool, typer.Option(help="Begin while the run still packs.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Figures for TensorBoard too, in OUT/<phase>/board.")] = False,
) -> None:
    """Train a recipe's phases on shards; again: go on after the last checkpoint."""
    from pipeline.engine.engines import remove_own_ray_folder

    options: dict[str, Any] = {"seed": seed, "decoders": decoders, "save_every": save_every}
    options |= {"live": live, "board": tensorboard}
    on = "the step in hand is not saved; give the same command again to go on after the last checkpoint"
    with exit_in_one_line(on, remove_own_ray_folder) as ending:
        from pipeline.cli.training import train_and_report

        where = (recipe, overrides or (), shards, model, out, workers)
        typer.echo(train_and_report(*where, ending.asked, **options))


@app.command()
def chat(  # noqa: PLR0913, PLR0917
    model: Annotated[Path, typer.Option(help="Folder of the weights, or nano.")],
    text: Annotated[str, typer.Argument(help="The question; without one, lines of the standard input.")] = "",
    image: Annotated[list[Path] | None, typer.Option(help="A picture. Repeat.", exists=True)] = None,
    video: Annotated[Path | None, typer.Option(help="A video; its sound is heard too.", exists=True)] = None,
    sound: Annotated[list[Path] | None, typer.Option(help="A sound. Repeat.", exists=True)] = None,
    speak: Annotated[Path | None, typer.Option(help="WAV file for the spoken answer.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 1024,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest words; above: sampled.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="auto (as stored), bfloat16, float16 or float32.")] = "auto",
) -> None:
    """Ask the model about pictures, a video, sounds; the answer comes as it is made."""
    from ola.prompt import Request
    from pipeline.cli.chat import Shown, chat

    asked = Request(text, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    chat(model, Shown(image or (), video, sound or ()), asked, speak, device, dtype)


@app.command("model")
def model_command(folder: Annotated[Path, typer.Argument(help="Folder of the weights.")]) -> None:
    """What a folder of weights holds: sizes and dtypes by module, and what is missing; exit 1 if anything is wrong."""
    from pipeline.cli.weights import show_model

    raise typer.Exit(GOOD if show_model(folder) else POOR)


@app.command()
def doctor(
    config: Annotated[str | None, typer.Option(help="YAML file of settings, as of `ola run`.")] = None,
    root: Annotated[str, typer.Option(help="Where the run is to live, or lives: its settings count.")] = "",
    model: Annotated[str, typer.Option(help="Folder of the weights: annotator.model.")] = "",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting, as of `ola run`. Repeat.")] = None,
) -> None:
    """Check machine, GPUs, store and cluster for a run with these settings; exit 1 if something needed is missing."""
    from pipeline.cli.doctor import examine

    raise typer.Exit(GOOD if examine(config, root, model, overrides or ()) else POOR)


def main() -> None:
    """Entry of the console script: errors of ours are one line on stderr."""
    with errors_in_a_line():
        shorten_tmpdir()
        app()
