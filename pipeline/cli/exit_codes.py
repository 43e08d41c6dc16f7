"""How commands end: exit codes, and errors of ours as one line on stderr."""

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

# done; too little came out or faults found; bad settings; cannot go on; done but for parts that were set aside
GOOD, POOR, WRONG, BROKEN, PARTLY = 0, 1, 2, 3, 4
CODES = {ConfigError: WRONG, PartsSetAside: PARTLY, StaysOpen: PARTLY}


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """End the process with one line and an exit code where the block raises an error of ours, or of a file."""
    try:
        with explain_known_errors():
            yield
    except (OlaError, StagesError, MissingColumn, OSError) as error:
        retries.tally.take()  # the error's line says what matters
        typer.echo(f"ola: {error if not isinstance(error, OSError) else one_line(error)}", err=True)
        detail = getattr(error, "detail", "")
        if detail:
            typer.echo(detail, err=True)
        sys.exit(next((code for kind, code in CODES.items() if isinstance(error, kind)), BROKEN))
    finally:
        if number := retries.tally.take():
            typer.echo(str(Tally(number)), err=True)
