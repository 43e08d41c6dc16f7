"""Write nano's model card and loss curves from the results of its training and evaluation."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES_FILE = "curves.png"
SMOOTHING_STEPS = 10  # steps averaged to a point
LABEL_ROWS = 3  # rows of phase names, so that names of short phases do not overlap
TEMPLATE = Path(__file__).with_name("card.md")
PLACEHOLDERS = "{table}", "{reading}"

Results = Mapping[str, Mapping[str, float]]
"""Name of a result -> `right` (share of right answers), `n` (number of prompts), perhaps `guessed`."""


def write_card(folder: Path, examined: Mapping[str, Path], read: Path, trainings: Sequence[Path]) -> None:
    """Write the card and its curves into the folder of the weights. Raises OSError.

    examined: split -> JSON of `evaluate_model`. read: JSON of `evaluate_on_text`. trainings: folders of `ola train`,
    in order.
    """
    results = {split: json.loads(file.read_text()) for split, file in examined.items()}
    text = TEMPLATE.read_text()
    for placeholder, table in zip(
        PLACEHOLDERS, (results, {"scenes in words": json.loads(read.read_text())}), strict=True
    ):
        text = text.replace(placeholder, results_table(table))
    (folder / "README.md").write_text(text)
    draw_curves(
        [(phase.name, rows) for training in trainings for phase, rows in read_phases(training)], folder / CURVES_FILE
    )


def results_table(results: Mapping[str, Results]) -> str:
    """Format results as a Markdown table: a line for each name, a column for each split."""
    names = sorted({name for split in results.values() for name in split})
    rows = [
        [name, *(_format_result(split, name) for split in results.values()), _mean_guess(results.values(), name)]
        for name in names
    ]
    header = ["asked", *results, "by guessing"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def read_phases(training: Path) -> list[tuple[Path, list[dict[str, Any]]]]:
    """Read the logs of a training: (folder of a phase, rows of its steps), in order of training."""
    logs = sorted(training.glob("*/log"), key=lambda log: min(file.stat().st_mtime for file in log.iterdir()))
    return [(log.parent, pq.read_table(log).sort_by("step").to_pylist()) for log in logs]


def draw_curves(trained: Sequence[tuple[str, list[dict[str, Any]]]], file: Path) -> None:
    """Draw the loss of each kind of task over all steps as a PNG, with lines between phases."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    start = 0
    curves = defaultdict[str, list[tuple[int, float]]](list)
    for number, (name, rows) in enumerate(trained):
        axes.axvline(start, color="#bbbbbb", linewidth=0.8)
        axes.annotate(
            name,
            (start, 1),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            xytext=(2, -10 * (1 + number % LABEL_ROWS)),
            textcoords="offset points",
        )
        for row in rows:
            for kind in row["by_kind"]:
                curves[kind["name"]].append((start + row["step"], kind["value"]))
        start += len(rows)
    _plot_curves(axes, curves)
    figure.savefig(file, format="png", dpi=90)


def _plot_curves(axes: Axes, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    for kind, points in curves.items():
        windows = [points[begin : begin + SMOOTHING_STEPS] for begin in range(0, len(points), SMOOTHING_STEPS)]
        steps = [part[-1][0] for part in windows]
        axes.plot(steps, [sum(value for _, value in part) / len(part) for part in windows], label=kind, linewidth=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("nats a supervised token")
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _format_result(results: Results, name: str) -> str:
    if name not in results:
        return "–"
    return f"{results[name]['right']:.2f} ({results[name]['n']:.0f})"


def _mean_guess(results: Iterable[Results], name: str) -> str:
    """Format the mean share of right guesses over all splits."""
    found = [(split[name]["guessed"], split[name]["n"]) for split in results if "guessed" in split.get(name, {})]
    return f"{sum(share * n for share, n in found) / sum(n for _, n in found):.2f}" if found else "–"
