"""Write query results in the formats of `ola sql`."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from manifests import drafts
from manifests.json_values import json_value
from pipeline.cli.cell_text import one_line, value_text
from pipeline.cli.tables import cut_table, output_width
from pipeline.errors import ConfigError

ZONED = "TIMESTAMP WITH TIME ZONE"  # DuckDB's type of `now()`
PARQUET = "parquet"


@dataclass(frozen=True)
class Answer:
    """The column names and rows of a query result."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]


def answer_of(relation: duckdb.DuckDBPyRelation) -> Answer:
    """Run a query and return its result. Times with a time zone become text: DuckDB's client needs pytz for them."""
    if not any(ZONED in str(kind) for kind in relation.types):
        return Answer(relation.columns, relation.fetchall())
    columns = [f"c{n}" for n in range(len(relation.types))]
    pairs = zip(columns, relation.types, strict=True)
    casts = (f"CAST({c} AS {str(kind).replace(ZONED, 'VARCHAR')})" for c, kind in pairs)
    text = f"SELECT {', '.join(casts)} FROM answer AS answer({', '.join(columns)})"
    cast: Any = relation.query("answer", text)
    return Answer(relation.columns, list(cast.fetchall()))


def check_output(form: str, out: Path | None) -> None:
    """Raise ConfigError if the result cannot be written in this format to this file."""
    if form == PARQUET and out is None and sys.stdout.isatty():
        raise ConfigError("--format parquet: expected a file or a pipe, got a terminal; do --out FILE, or add > FILE")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(f"--out {out}: expected a file in a folder that exists; name another")


def write_text(answer: Answer, form: str, out: Path | None) -> None:
    """Print the result, or write it to a file."""
    text = FORMS[form](answer)
    if out is None:
        sys.stdout.write(text)
        return
    with _draft(out) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def write_parquet(relation: duckdb.DuckDBPyRelation, out: Path | None) -> None:
    """Write the result as Parquet to a file or to standard output."""
    if out is not None:
        with _draft(out) as draft:
            relation.write_parquet(str(draft))
        return
    with tempfile.TemporaryDirectory() as folder:  # DuckDB cannot write Parquet to a pipe
        path = Path(folder, "answer.parquet")
        relation.write_parquet(str(path))
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """Give the path of a draft in the same folder, which replaces the file after the block."""
    draft = Path(drafts.name(str(out)))
    try:
        yield draft
        os.replace(draft, out)
    finally:
        draft.unlink(missing_ok=True)


def _table(answer: Answer) -> str:
    return _lines(cut_table(answer.names, answer.rows, output_width()))


def _json(answer: Answer) -> str:
    found = json_value([dict(zip(answer.names, row, strict=True)) for row in answer.rows])
    return json.dumps(found, ensure_ascii=False, indent=2, default=str, allow_nan=False) + "\n"


def _csv(answer: Answer) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answer.names)
    writer.writerows(answer.rows)
    return file.getvalue()


def _vertical(answer: Answer) -> str:
    """Return one line per value; further lines of a value are indented."""
    names = [one_line(name) for name in answer.names]
    size = max(map(len, names), default=0)
    lines = []
    for number, row in enumerate(answer.rows, start=1):
        lines.append(f"── row {number} " + "─" * size)
        for name, value in zip(names, row, strict=True):
            first, *more = (one_line(line) for line in value_text(value).splitlines() or [""])
            lines += [f"{name:<{size}}  {first}".rstrip(), *(f"{'':<{size}}  {line}" for line in more)]
    return _lines(lines)


def _markdown(answer: Answer) -> str:
    rows = [answer.names, ["---"] * len(answer.names), *([value_text(value) for value in row] for row in answer.rows)]
    return _lines(f"| {' | '.join(map(_markdown_cell, row))} |" for row in rows)


def _markdown_cell(text: str) -> str:
    lines = [one_line(line) for line in text.splitlines()]
    return "<br>".join(lines).replace("\\", "\\\\").replace("|", "\\|")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


FORMS: Mapping[str, Callable[[Answer], str]] = {
    "table": _table,
    "vertical": _vertical,
    "md": _markdown,
    "csv": _csv,
    "json": _json,
}
