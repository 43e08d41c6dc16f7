"""Compare the results of several models with those of the first, as a table and a plot (Figure 3 of the paper).

A relative score is a model's score divided by the first model's, inverted if lower is better (word error): above 1 is
better than the first model in every suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests import storage
from stages.errors import StagesError
from stages.evaluation.runner import Result, read_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Results = Mapping[str, Result]
INCHES, BAR, DPI = 4.5, 0.45, 160
CLOSE = 0.8  # if all relative scores are above this, the axis begins close to them to show small differences
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")


@dataclass(frozen=True)
class ComparisonRow:
    """The scores of all models in one suite, absolute and relative to the first model; None: no score.

    spread: half the width of each relative score's interval; empty: no intervals.
    """

    suite: str
    metric: str
    falls: bool
    values: tuple[float | None, ...]
    relative: tuple[float | None, ...]
    counts: tuple[int, ...]
    spread: tuple[float, ...] = ()

    @property
    def uneven(self) -> bool:
        """Whether the models answered different numbers of questions, so that they cannot be compared."""
        return len(set(self.counts) - {0}) > 1


def compare(paths: Sequence[Path]) -> tuple[list[str], list[ComparisonRow]]:
    """Return the models' names and a row per suite. Raises StagesError if results cannot be read."""
    models = [read_results(path) for path in paths]
    suites = dict.fromkeys(suite for model in models for suite in model)
    return short_names(paths), [_compare_suite(suite, [model.get(suite) for model in models]) for suite in suites]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest distinct path endings: the names of folders or files, with parents if two are the same."""
    absolute = [path.absolute().with_suffix("") if path.is_file() else path.absolute() for path in paths]
    for length in range(1, max(len(path.parts) for path in absolute) + 1):
        names = ["/".join(path.parts[-length:]) for path in absolute]
        if len(set(names)) == len(set(absolute)):
            return names
    return [str(path) for path in absolute]


def _compare_suite(suite: str, results: Sequence[Result | None]) -> ComparisonRow:
    any_result = next(result for result in results if result is not None)
    if any(result is not None and result["metric"] != any_result["metric"] for result in results):
        raise StagesError(f"{suite}: expected one metric, got several; evaluate all models with the same version")
    values = tuple(None if result is None else result["value"] for result in results)
    relative = tuple(_relative_score(value, values[0], any_result["falls"]) for value in values)
    counts = tuple(0 if result is None else result["n"] for result in results)
    return ComparisonRow(suite, any_result["metric"], any_result["falls"], values, relative, counts)


def _relative_score(value: float | None, first: float | None, falls: bool) -> float | None:
    if value is None or first is None:
        return None
    numerator, denominator = (first, value) if falls else (value, first)
    return 1.0 if numerator == denominator else numerator / denominator if denominator else None


def draw(names: Sequence[str], rows: Sequence[ComparisonRow], file: Path) -> None:
    """Draw Figure 3 as a PNG: a group of bars per suite, a bar per model, with the relative score as its height.

    Suites with a relative score of only one model are left out; raises StagesError if no suite remains. If the scores
    are close together, the axis does not begin at 0 and its label says so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [row for row in rows if sum(relative is not None for relative in row.relative) > 1]
    if not shown:
        raise StagesError(f"{file}: nothing to draw: no suite has scores of both {names[0]} and another model")
    width = max(INCHES, 1 + BAR * len(shown) * (len(names) + 1))
    figure = Figure(figsize=(width, INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    _draw_bars(figure.add_subplot(), names, shown)
    figure.legend(loc="outside upper center", ncols=min(len(names), 4), frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    with storage.draft(str(file)) as path:
        figure.savefig(path, format="png", dpi=DPI)


def _draw_bars(axes: Axes, names: Sequence[str], shown: Sequence[ComparisonRow]) -> None:
    width = 1 / (len(names) + 1)
    axes.axhline(1, color="#444444", linewidth=0.8, linestyle="--", zorder=0)
    for number, name in enumerate(names):
        positions = [center + (number - (len(names) - 1) / 2) * width for center in range(len(shown))]
        relative = [row.relative[number] for row in shown]
        heights, texts = [height or 0 for height in relative], [_bar_text(height) for height in relative]
        spread = [row.spread[number] if row.spread else 0.0 for row in shown]
        whiskers: dict[str, Any] = {"yerr": spread, "capsize": 3, "ecolor": "#444444"} if any(spread) else {}
        bars = axes.bar(positions, heights, width, label=name, color=COLOURS[number % len(COLOURS)], **whiskers)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.bar_label(bars, texts, fontsize=8, padding=2, bbox=white)
    axes.set_xticks(range(len(shown)), [_label(row) for row in shown])
    low, high = value_range(shown)
    bottom = low - 0.05 if low > CLOSE else 0.0
    axes.set_ylim(bottom, high + 0.1 * (high - bottom))
    axes.set_ylabel(f"score relative to {names[0]}" + f" (axis from {bottom:.2f})" * (bottom > 0))
    axes.spines[["top", "right"]].set_visible(False)


def value_range(shown: Sequence[ComparisonRow]) -> tuple[float, float]:
    """Return the lowest and highest drawn value, intervals included."""
    spans = [
        (height - spread, height + spread)
        for row in shown
        for height, spread in zip(row.relative, row.spread or [0.0] * len(row.relative), strict=True)
        if height is not None
    ]
    return min(low for low, _ in spans), max(high for _, high in spans)


def _label(row: ComparisonRow) -> str:
    """Return a label with one word per line, so that neighbouring labels do not touch."""
    words = [*row.suite.replace("_", "-").split("-"), row.metric, *["inverted"] * row.falls]
    return "\n".join(words)


def _bar_text(height: float | None) -> str:
    return "–" if height is None else f"{height:.3f}"
