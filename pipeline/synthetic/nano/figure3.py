"""Run `make figure3`: Figure 3 of the paper on nano: three orders of the same data, equal steps, three seeds each.

    films ─ lessons ─┬─ progressive ─┐
    start ─ text ────┼─ direct ──────┼─ examine ─► figure3.json, figure3.md, figure3.png
                     └─ balanced ────┘

All orders start from nano's weights before it is trained on media, and see equally many sequences of the same length.
They train on the scored lessons and on lessons that lead to these, each with a single modality. The work folder is that
of `make nano`. Completed stages are skipped, so an interrupted run can be started again.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.synthetic.nano import train
from pipeline.synthetic.nano.train import WorkFolder
from pipeline.synthetic.world.vocabulary import find_split
from stages.evaluation.comparison import ComparisonRow, draw

ORDERS = ("progressive", "direct", "balanced")
SEEDS = (0, 1, 2)
SUITES = {
    "image QA": ("image_qa", "image_qa"),
    "video QA": ("verify_video", "verify_video, needs video"),
    "speech recognition": ("transcribe", "transcribe, words"),
}
"""Name of a suite -> its lessons, and the result that is its score."""
SCORED_LESSONS = [lesson for lesson, _ in SUITES.values()]
TRAINED_LESSONS = (
    *("image_qa", "caption_image", "image_caption"),
    *("verify_video", "lookup_video", "caption_video", "video_caption"),
    *("transcribe", "speech_recognition", "verify_audio", "lookup_audio", "caption_sound", "sound_caption"),
)
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided quantiles of Student's t by the number of seeds

Results = Mapping[str, Mapping[str, float]]


def reproduce_figure3(work: WorkFolder) -> Path:
    """Train and evaluate all orders and seeds; returns the folder of the table, the figure and the JSON."""
    base, _ = train.make_text_model(work)
    films = train.make_training_films(work)
    lessons = work.run_stage("figure3/lessons", lambda folder: train.import_lessons(films, folder, TRAINED_LESSONS))
    run = train.make_held_out_films(work, find_split("test"))
    scores = {order: [_train_and_score(work, order, seed, base, lessons, run) for seed in SEEDS] for order in ORDERS}
    return work.run_stage("figure3/figure", lambda folder: publish(scores, folder))


def _train_and_score(work: WorkFolder, order: str, seed: int, base: Path, lessons: Path, run: Path) -> dict[str, float]:
    name = f"figure3/{order}-{seed}"
    trained = work.run_stage(name, lambda folder: train.train_recipe(f"figure3-{order}", base, [lessons], folder, seed))
    marked = work.run_stage(
        f"{name}-marks", lambda folder: train.evaluate_films(trained / "model", run, folder, SCORED_LESSONS)
    )
    results: Results = json.loads((marked / train.RESULTS_FILE).read_text())
    return {suite: results[mark]["right"] for suite, (_, mark) in SUITES.items()}


def publish(scores: Mapping[str, Sequence[Mapping[str, float]]], folder: Path) -> None:
    """Write the scores of all seeds as JSON, and their means with intervals as a table and a figure. Raises OSError."""
    first = {suite: statistics.fmean(seed[suite] for seed in scores[ORDERS[0]]) for suite in SUITES}
    lines = [_comparison_line(suite, scores, first[suite]) for suite in SUITES]
    facts = {"commit": _commit(), "seeds": SEEDS, "scores": {order: list(scores[order]) for order in ORDERS}}
    (folder / "figure3.json").write_text(json.dumps(facts, indent=1))
    (folder / "figure3.md").write_text(scores_table(scores))
    draw(ORDERS, lines, folder / "figure3.png")


def _comparison_line(suite: str, scores: Mapping[str, Sequence[Mapping[str, float]]], first: float) -> ComparisonRow:
    values_by_order = {order: [seed[suite] for seed in scores[order]] for order in ORDERS}
    values = tuple(statistics.fmean(values_by_order[order]) for order in ORDERS)
    relative = tuple(value / first if first else None for value in values)
    spread = tuple(half_interval(values_by_order[order]) / first if first else 0.0 for order in ORDERS)
    return ComparisonRow(suite, "right", False, values, relative, (len(SEEDS),) * len(ORDERS), spread)


def half_interval(values: Sequence[float]) -> float:
    """Return half of the 95 % confidence interval of the mean (Student). Raises KeyError unless 2 to 5 values."""
    return T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def scores_table(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Format means with intervals as a Markdown table, a line for each order."""
    lines = [f"| order | {' | '.join(SUITES)} |", "|---|" + "---|" * len(SUITES)]
    for order in ORDERS:
        values_by_suite = [[seed[suite] for seed in scores[order]] for suite in SUITES]
        cells = [f"{statistics.fmean(values):.3f} ± {half_interval(values):.3f}" for values in values_by_suite]
        lines.append(f"| {order} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _commit() -> str:
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    print(reproduce_figure3(WorkFolder(Path(sys.argv[1]), print)))  # noqa: T201
