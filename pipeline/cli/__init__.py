"""The command line `ola`. The package `commands` declares the commands, one file per group of `ola --help`."""

from __future__ import annotations

import typer

from pipeline.cli.commands import data, look, model, run, train
from pipeline.cli.exit_codes import errors_in_a_line
from pipeline.engine.short_tmp import shorten_tmpdir

app = typer.Typer(
    help="Turn videos into training shards for Ola, look at every step on the way, and train and ask the model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (run, look, data, train, model):
    app.add_typer(group.app)


def main() -> None:
    """Run the console script. Errors of this project are printed as one line on stderr."""
    with errors_in_a_line():
        shorten_tmpdir()
        app()
