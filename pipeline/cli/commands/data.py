"""Commands that bring data in, write data out and remove data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.commands import Root, Sets, Yes
from pipeline.cli.exit_codes import GOOD, POOR
from pipeline.cli.world import world
from pipeline.errors import ConfigError

PANEL = "Data"
app = typer.Typer()


@app.command("import", rich_help_panel=PANEL)
def import_command(
    file: Annotated[str, typer.Argument(help="Records as JSON (a list), JSONL or Parquet, or a folder of shards.")],
    root: Annotated[str, typer.Option(help="Folder for the shards: a new one, or that of a run.")],
    media: Annotated[str, typer.Option(help="Folder or URI of the media; default: the folder of the file.")] = "",
    frames: Annotated[int, typer.Option(min=1, help="Most frames of a video.")] = 48,
    val_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the media kept for validation.")] = 0.02,
    strict: Annotated[bool, typer.Option(help="End with an error at the first record that has to be mended.")] = False,
    retry: Annotated[bool, typer.Option(help="Try again the records that could not be used before.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode media; 0: this process.")] = 0,
) -> None:
    """Import external conversations and media (Ola-Data, LLaVA, JSONL) as shards. Exit 1 if no record can be used."""
    from pipeline.cli.import_records import show_import
    from pipeline.importing.importer import ImportRequest

    request = ImportRequest(file, media, frames, val_share, workers=workers)
    raise typer.Exit(GOOD if show_import(request, root, strict, retry) else POOR)


@app.command(rich_help_panel=PANEL)
def export(
    root: Root,
    file: Annotated[Path, typer.Argument(help="File to write.")],
    to: Annotated[str, typer.Option(help="Format: ola-json, which the original Ola trainer reads.")] = "ola-json",
) -> None:
    """Write the tasks for another trainer. Media stay in the shards, and the file refers to them."""
    from pipeline.pack.export import FORMS

    if to not in FORMS:
        raise ConfigError(f"--to: expected {' or '.join(FORMS)}, got {to!r}")
    typer.echo(f"{FORMS[to](root, file)} tasks in {file}")


@app.command("card", rich_help_panel=PANEL)
def card_command(
    root: Root,
    out: Annotated[str, typer.Option(help="Folder or URI of the card; default: the root.")] = "",
    name: Annotated[str, typer.Option(help="Name of the data set; default: that of the root's folder.")] = "",
) -> None:
    """Write the dataset card: README.md for the Hugging Face Hub, and croissant.json."""
    from pipeline.card.build import CardOptions
    from pipeline.cli.card import show_card

    show_card(root, CardOptions(out, name))


@app.command("hashes", rich_help_panel=PANEL)
def hashes_command(
    inputs: Annotated[list[str], typer.Argument(help="Videos, folders, globs, lists; or the root of a run.")],
    out: Annotated[str, typer.Option(help="File to write, as videomme.hashes.")],
    overrides: Sets = None,
) -> None:
    """Write the hashes of videos to a file without media, for dedup.against and decontaminate. Exit 1 if none."""
    from pipeline.cli.hashes import write_hash_file

    raise typer.Exit(GOOD if write_hash_file(inputs, out, overrides or ()) else POOR)


@app.command("remove", rich_help_panel=PANEL)
def remove_command(  # noqa: PLR0913, PLR0917  one parameter a flag is how typer declares a command
    root: Root,
    names: Annotated[list[str] | None, typer.Argument(metavar="ID|URI…", help="Ids, paths or file names.")] = None,
    listed: Annotated[str, typer.Option("--list", metavar="FILE", help="Text file with one name in each line.")] = "",
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A video, whose re-encodes, crops and cuts are removed as well. Repeat."),
    ] = None,
    trained: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OUT", help="A training, whose checkpoints that learned from the videos are named. Repeat."
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="Reason, kept in removed.jsonl with your name and the time.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    yes: Yes = False,
) -> None:
    """Remove all data of videos from a run and keep the videos out. Without names, finish an interrupted removal."""
    from pipeline.cli.remove import Removal, remove_and_report

    removal = Removal(names or (), listed, like or (), trained or (), note)
    remove_and_report(root, removal, dry_run, as_json, yes)


@app.command("clean", rich_help_panel=PANEL)
def clean_command(
    root: Root, yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed.")] = False
) -> None:
    """List folders of old settings, old shard sets and leftover files with their sizes; --yes deletes them."""
    from pipeline.cli.clean import clean_and_report

    clean_and_report(root, yes)


app.add_typer(world, name="world", rich_help_panel=PANEL)
