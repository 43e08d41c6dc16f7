"""Compare results of several models relative to the first, as a table and a plot: Figure 3 of the paper.

A score relative to the first model's is their quotient, inverted where less is better (word error), so that above 1 is
better than the first in every suite.
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
CLOSE = 0.8  # above it, differences of a few per cent are what there is to see
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")


@dataclass(frozen=True)
class Line:
    """A suite in all models: their scores and their scores relative to the first, None where there is none.

    spread: half of each relative score's interval, where there is one.
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
        """Whether the models were asked different numbers of questions, and so cannot be compared."""
        return len(set(self.counts) - {0}) > 1


def compare(paths: Sequence[Path]) -> tuple[list[str], list[Line]]:
    """Names of the models, and a line a suite that any of them has. Raises StagesError where results cannot be read."""
    models = [read_results(path) for path in paths]
    suites = dict.fromkeys(suite for model in models for suite in model)
    return names_of(paths), [_line(suite, [model.get(suite) for model in models]) for suite in suites]


def names_of(paths: Sequence[Path]) -> list[str]:
    """As short as they can be: the names of folders or files, with more of the path where two are the same."""
    whole = [path.absolute().with_suffix("") if path.is_file() else path.absolute() for path in paths]
    for length in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-length:]) for path in whole]
        if len(set(names)) == len(set(whole)):
            return names
    return [str(path) for path in whole]


def _line(suite: str, results: Sequence[Result | None]) -> Line:
    of_any = next(result for result in results if result is not None)
    if any(result is not None and result["metric"] != of_any["metric"] for result in results):
        raise StagesError(f"{suite}: scored by several metrics: evaluate all models with the same version")
    values = tuple(None if result is None else result["value"] for result in results)
    relative = tuple(_relative(value, values[0], of_any["falls"]) for value in values)
    counts = tuple(0 if result is None else result["n"] for result in results)
    return Line(suite, of_any["metric"], of_any["falls"], values, relative, counts)


def _relative(value: float | None, first: float | None, falls: bool) -> float | None:
    if value is None or first is None:
        return None
    over, under = (first, value) if falls else (value, first)
    return 1.0 if over == under else over / under if under else None


def draw(names: Sequence[str], lines: Sequence[Line], file: Path) -> None:
    """Figure 3 as a PNG: a group of bars a suite, a bar a model, as high as its score relative to the first one's.

    Suites in which only one model has such a score are left out; StagesError if all are. Where the scores are close
    together the axis does not begin at 0, and says so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [line for line in lines if sum(relative is not None for relative in line.relative) > 1]
    if not shown:
        raise StagesError(f"{file}: no suite has scores of {names[0]} and of another model: nothing to draw")
    width = max(INCHES, 1 + BAR * len(shown) * (len(names) + 1))
    figure = Figure(figsize=(width, INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    _bars(figure.add_subplot(), names, shown)
    figure.legend(loc="outside upper center", ncols=min(len(names), 4), frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    with storage.draft(str(file)) as path:
        figure.savefig(path, format="png", dpi=DPI)


def _bars(axes: Axes, names: Sequence[str], shown: Sequence[Line]) -> None:
    width = 1 / (len(names) + 1)
    axes.axhline(1, color="#444444", linewidth=0.8, linestyle="--", zorder=0)
    for number, name in enumerate(names):
        at = [place + (number - (len(names) - 1) / 2) * width for place in range(len(shown))]
        relative = [line.relative[number] for line in shown]
        heights, texts = [height or 0 for height in relative], [_text(height) for height in relative]
        spread = [line.spread[number] if line.spread else 0.0 for line in shown]
        whiskers: dict[str, Any] = {"yerr": spread, "capsize": 3, "ecolor": "#444444"} if any(spread) else {}
        bars = axes.bar(at, heights, width, label=name, color=COLOURS[number % len(COLOURS)], **whiskers)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.bar_label(bars, texts, fontsize=8, padding=2, bbox=white)
    axes.set_xticks(range(len(shown)), [_label(line) for line in shown])
    low, high = span(shown)
    foot = low - 0.05 if low > CLOSE else 0.0
    axes.set_ylim(foot, high + 0.1 * (high - foot))
    axes.set_ylabel(f"score relative to {names[0]}" + f" (axis from {foot:.2f})" * (foot > 0))
    axes.spines[["top", "right"]].set_visible(False)


def span(shown: Sequence[Line]) -> tuple[float, float]:
    """The lowest and the highest of what is drawn, intervals included."""
    spans = [
        (height - spread, height + spread)
        for line in shown
        for height, spread in zip(line.relative, line.spread or [0.0] * len(line.relative), strict=True)
        if height is not None
    ]
    return min(low for low, _ in spans), max(high for _, high in spans)


def _label(line: Line) -> str:
    """One word a line: those of neighbours must not touch."""
    words = [*line.suite.replace("_", "-").split("-"), line.metric, *["inverted"] * line.falls]
    return "\n".join(words)


def _text(height: float | None) -> str:
    return "–" if height is None else f"{height:.3f}"
