"""`ola compare`: print the scores of several models side by side, relative to the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from stages.evaluation.comparison import ComparisonRow


def compare(paths: Sequence[Path], png: Path | None) -> None:
    """Print the scores of several models, and draw them relative to the first. Raises StagesError."""
    from rich.console import Console

    from stages.evaluation.comparison import compare as read
    from stages.evaluation.comparison import draw

    names, lines = read(paths)
    console = Console()
    console.print(comparison_table(names, lines))
    for line in lines:
        if line.uneven:
            counts = ", ".join(f"{name} {count}" for name, count in zip(names, line.counts, strict=True))
            warning = f"{line.suite}: the models were asked different numbers of questions ({counts})"
            console.print(warning, markup=False, highlight=False)
    if png is not None:
        draw(names, lines, png)
        console.print(f"{png} is drawn", markup=False, highlight=False)


def comparison_table(names: Sequence[str], lines: Sequence[ComparisonRow]) -> Table:
    """Return a table with a row per suite: each model's score, and in brackets its ratio to the first model's."""
    from rich.table import Table
    from rich.text import Text

    caption = Text(f"in brackets: relative to {names[0]}, above 1 is better")
    table = Table(box=None, pad_edge=False, caption=caption)
    table.add_column("suite", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for name in names:
        table.add_column(Text(name), justify="right")
    for line in lines:
        pairs = zip(line.values, line.relative, strict=True)
        cells = ["–" if value is None else f"{value:.4f}" + _bracket_ratio(relative) for value, relative in pairs]
        table.add_row(line.suite, line.metric + " ↓" * line.falls, *cells)
    return table


def _bracket_ratio(relative: float | None) -> str:
    return "" if relative is None else f" ({relative:.3f})"
