"""Commands that look at a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.commands import Root
from pipeline.cli.exit_codes import GOOD, POOR

PANEL = "Look"
app = typer.Typer()


class Format(StrEnum):
    """Forms of a query's answer."""

    TABLE = "table"
    VERTICAL = "vertical"
    MD = "md"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command(rich_help_panel=PANEL)
def status(root: Root, as_json: Json = False) -> None:
    """Count the inputs of each step by ok, dropped and failed, and what the shards hold. Exit 1 if any is lost."""
    from pipeline.cli.status import show_status

    raise typer.Exit(GOOD if show_status(root, as_json) else POOR)


@app.command(rich_help_panel=PANEL)
def why(
    root: Root,
    name: Annotated[str, typer.Argument(metavar="ID", help="Id, key, path or file name, or how an id begins.")],
    as_json: Json = False,
) -> None:
    """Show what each step did with a video, clip or task, how long it took, why it stopped. Exit 1 if none is found."""
    from pipeline.cli.why import show_history

    raise typer.Exit(show_history(root, name, as_json))


@app.command(rich_help_panel=PANEL)
def sql(
    root: Root,
    query: Annotated[str, typer.Argument(help="DuckDB SQL; default: show the views, their columns and examples.")] = "",
    form: Annotated[
        Format, typer.Option("--format", help="A table is cut to the terminal; all others are whole.")
    ] = Format.TABLE,
    out: Annotated[Path | None, typer.Option(help="File for the answer; default: standard output.")] = None,
) -> None:
    """Query the manifests with DuckDB: a view for each step, and the view shards."""
    from pipeline.cli.sql import show_query

    show_query(root, query, form.value, out)


@app.command(rich_help_panel=PANEL)
def whatif(
    root: Root,
    where: Annotated[str | None, typer.Argument(help="A condition to try as pack.where.")] = None,
    given: Annotated[str | None, typer.Option(help="To try as pack.given: caption, qa or caption,qa.")] = None,
    agreement: Annotated[float | None, typer.Option(help="To try as pack.agreement, 0 to 1.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting of pack to try: pack.key=value, repeatable.")
    ] = None,
) -> None:
    """Compare what other settings of pack would put into the shards with the present ones. Nothing is run."""
    from pipeline.cli.whatif import show_whatif

    show_whatif(root, where, given, agreement, overrides or ())


@app.command(rich_help_panel=PANEL)
def report(
    root: Root,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: report, in the root.")] = None,
    clips: Annotated[int, typer.Option(min=0, help="Most clips with a card.")] = 200,
    step: Annotated[str | None, typer.Option(help="Only cards of records that ended in this step.")] = None,
    where: Annotated[str | None, typer.Option(help="Only cards of clips with such candidates.")] = None,
    megabytes: Annotated[int, typer.Option(min=1, help="Most megabytes of the folder.")] = 60,
    training: Annotated[
        Path | None, typer.Option(help="Folder of `ola train` or `ola evaluate`, or one above several.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed by which the clips are drawn.")] = 0,
) -> None:
    """Write a page to look at: the funnel, scores, the yield of other thresholds, and clips to see, hear and review."""
    from pipeline.cli.report import report_run
    from pipeline.report.build import ReportOptions

    typer.echo(report_run(root, ReportOptions(out, clips, step, where, megabytes, training, seed)))


@app.command(rich_help_panel=PANEL)
def review(
    root: Root,
    file: Annotated[Path, typer.Argument(help="File that the report's page exported (reviews.jsonl).")],
) -> None:
    """Keep what people marked in a report, for `ola sql` (view review) and for the next report."""
    from pipeline.cli.report import read_reviews

    typer.echo(f"{read_reviews(root, file)} marks are in the run; `ola report` compares them with verify")


@app.command(rich_help_panel=PANEL)
def audit(
    root: Root,
    n: Annotated[int, typer.Option("--n", min=1, help="Questions to sample.")] = 200,
    seed: Annotated[int, typer.Option(help="Random seed of the sample.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the page; default: audit-n200-seed1 here.")] = None,
    read: Annotated[Path | None, typer.Option(help="Answers that the page saved: store and score them.")] = None,
) -> None:
    """Write a page on which people check sampled questions, or read their answers into the manifest."""
    from pipeline.cli.audit import read_audit, write_audit

    if read is None:
        write_audit(root, n, seed, out)
    else:
        read_audit(root, read)


@app.command(rich_help_panel=PANEL)
def check(root: Root) -> None:
    """Read every shard as a trainer does and print every fault. Exit 1 if there is one."""
    from pipeline.pack.check import check_run

    faults = 0
    for fault in check_run(root):
        typer.echo(fault)
        faults += 1
    typer.echo(f"{faults} fault{'s' * (faults != 1)}" if faults else "no fault")
    raise typer.Exit(POOR if faults else GOOD)


@app.command(rich_help_panel=PANEL)
def replay(
    root: Root,
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of a step's input, or how it begins.")],
    step: Annotated[str, typer.Option(help="Step to run again.")],
) -> None:
    """Run one record again and show which fields differ. Nothing is written. Exit 1 if one differs."""
    from pipeline.cli.replay import replay

    raise typer.Exit(GOOD if replay(root, name, step) else POOR)
