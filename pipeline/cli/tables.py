"""Format tables, cut or folded to the width of the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.cell_text import one_line, value_text, with_short_ids

GAP, CUT = "  ", "…"
NARROWEST = 10  # least characters of a column that is cut; further columns are left out


def plain(text: str) -> Text:
    """Return text on one line, whose brackets rich does not parse as markup."""
    return Text(one_line(text))


def result_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table whose long cells are folded over several lines."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(plain(name), overflow="fold")
    for row in rows:
        table.add_row(*(plain(value_text(value)) for value in row))
    return table


def output_width() -> int | None:
    """Return the width of the terminal, or COLUMNS if it is set; None for a file or a pipe."""
    return Console().width if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else None


@dataclass(frozen=True)
class Column:
    """A column as text. natural: its full width. least: the smallest width to which it may be cut."""

    cells: Sequence[str]  # the first cell is the head
    is_number: bool
    natural: int
    least: int


def cut_table(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> list[str]:
    """Return the lines of a table of this width; if something was cut, the last line says so.

    Numbers and shortened ids are never cut. width: None cuts and shortens nothing.
    """
    values: list[Sequence[Any]] = [[row[n] for row in rows] for n in range(len(names))]
    shown = with_short_ids(values) if width else values
    columns = [
        _column(name, cells, cells is not before) for name, cells, before in zip(names, shown, values, strict=True)
    ]
    sizes = column_widths([each.natural for each in columns], [each.least for each in columns], width)
    left_out = len(columns) - len(sizes)
    cut = any(size < column.natural for size, column in zip(sizes, columns, strict=False))
    lines = zip(*(_fit_column(column, size) for column, size in zip(columns, sizes, strict=False)), strict=True)
    more = [CUT] if left_out else []
    return [GAP.join([*line, *more]).rstrip() for line in lines] + _cut_notes(left_out, len(columns), cut)


def _column(name: str, values: Sequence[Any], has_ids: bool) -> Column:
    head, texts = one_line(name), [one_line(value_text(value)) for value in values]
    size = max(map(cell_len, texts), default=0)
    natural = max(cell_len(head), size)
    is_number = _holds_numbers(values)
    least = max(size, min(cell_len(head), NARROWEST)) if is_number or has_ids else min(natural, NARROWEST)
    return Column([head, *texts], is_number, natural, least)


def _holds_numbers(column: Iterable[Any]) -> bool:
    kinds = {type(value) for value in column if value is not None}
    return bool(kinds) and kinds <= {int, float, Decimal}


def column_widths(natural: Sequence[int], least: Sequence[int], width: int | None) -> list[int]:
    """Return the widths of the first columns, as many as fit; remaining width is distributed evenly."""
    if width is None:
        return list(natural)
    shown = len(natural)
    while shown > 1 and _total(least[:shown], shown < len(natural)) > width:
        shown -= 1
    wanted, sizes = list(natural[:shown]), list(least[:shown])
    room = width - _total(sizes, shown < len(natural))
    while room > 0 and sizes != wanted:
        narrow = min((n for n in range(shown) if sizes[n] < wanted[n]), key=lambda n: sizes[n])
        sizes[narrow] += 1
        room -= 1
    return sizes


def _total(sizes: Sequence[int], is_cut: bool) -> int:
    return sum(sizes) + len(GAP) * (len(sizes) - 1) + (len(GAP) + len(CUT) if is_cut else 0)


def _fit_column(column: Column, size: int) -> list[str]:
    return [_fit_cell(text, size, column.is_number) for text in column.cells]


def _fit_cell(text: str, size: int, right: bool) -> str:
    if cell_len(text) > size:
        return set_cell_size(text, size - 1) + CUT
    return " " * (size - cell_len(text)) + text if right else set_cell_size(text, size)


def _cut_notes(left_out: int, many: int, cut: bool) -> list[str]:
    facts = [f"{left_out} of {many} columns are not shown"] if left_out else []
    facts += ["long values are cut"] if cut else []
    return [f"{CUT} {', '.join(facts)}: --format vertical shows everything"] if facts else []
