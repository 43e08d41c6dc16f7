"""Exit codes of commands, and printing of errors as one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from manifests import retries
from manifests.parquet_files import one_line
from manifests.retries import Tally
from manifests.schema import MissingColumn
from pipeline.error_causes import explain_known_errors
from pipeline.errors import ConfigError, OlaError, PartsSetAside, StaysOpen
from stages.errors import StagesError

GOOD = 0
"""Done."""
POOR = 1
"""Too little came out (of `ola run`: nothing, or less than `--min-yield`), or faults were found."""
WRONG = 2
"""Wrong options, settings, plan or input list, or the machine lacks what the run needs: nothing has run."""
BROKEN = 3
"""The command cannot go on, or had to leave damaged files out of its answer; what is committed stays."""
PARTLY = 4
"""Done but for some parts, which the last lines name, or a store does not answer: the next run goes on."""

CODES = {ConfigError: WRONG, PartsSetAside: PARTLY, StaysOpen: PARTLY}


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """End the process with one line and an exit code if the block raises an OlaError, StagesError or OSError."""
    try:
        with explain_known_errors():
            yield
    except (OlaError, StagesError, MissingColumn, OSError) as error:
        retries.tally.take()  # the error's line replaces the count of retries
        typer.echo(f"ola: {error if not isinstance(error, OSError) else one_line(error)}", err=True)
        detail = getattr(error, "detail", "")
        if detail:
            typer.echo(detail, err=True)
        sys.exit(next((code for kind, code in CODES.items() if isinstance(error, kind)), BROKEN))
    finally:
        if number := retries.tally.take():
            typer.echo(str(Tally(number)), err=True)
