"""`make figure3`: Figure 3 of the paper on nano: the same data in three orders, at equal steps, each with three seeds.

    films ─ lessons ─┬─ progressive ─┐
    start ─ text ────┼─ direct ──────┼─ examine ─► figure3.json, figure3.md, figure3.png
                     └─ balanced ────┘

All begin with the encoders and the decoder that nano has before it is shown a medium, and read as many sequences of the
same length: those of nano's lessons that are scored, or lead to what is scored, each of one medium. It works in the
folder of `make nano`; kill it and give it again: what is whole is passed over.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.synthetic.nano import train as making
from pipeline.synthetic.nano.train import Work
from pipeline.synthetic.world.vocabulary import split_named
from stages.evaluation.comparison import ComparisonRow, draw

ORDERS = ("progressive", "direct", "balanced")
SEEDS = (0, 1, 2)
ASKED = {
    "image QA": ("image_qa", "image_qa"),
    "video QA": ("verify_video", "verify_video, needs video"),
    "speech recognition": ("transcribe", "transcribe, words"),
}
"""What is scored -> the lessons that ask, and the mark that is taken of them."""
LESSONS = [lesson for lesson, _ in ASKED.values()]
TAUGHT = (
    *("image_qa", "caption_image", "image_caption"),
    *("verify_video", "lookup_video", "caption_video", "video_caption"),
    *("transcribe", "speech_recognition", "verify_audio", "lookup_audio", "caption_sound", "sound_caption"),
)
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # of Student's distribution, two-sided, by the number of seeds

Marks = Mapping[str, Mapping[str, float]]


def figure3(work: Work) -> Path:
    """Train and examine all; returns the folder of the table, the figure and the JSON."""
    base, _ = making.make_reader(work)
    films = making.learned(work)
    lessons = work.stage("figure3/lessons", lambda folder: making.write_lessons(films, folder, TAUGHT))
    run = making.held_out(work, split_named("test"))
    scores = {order: [_scored(work, order, seed, base, lessons, run) for seed in SEEDS] for order in ORDERS}
    return work.stage("figure3/figure", lambda folder: publish(scores, folder))


def _scored(work: Work, order: str, seed: int, base: Path, lessons: Path, run: Path) -> dict[str, float]:
    name = f"figure3/{order}-{seed}"
    trained = work.stage(name, lambda folder: making.train(f"figure3-{order}", base, [lessons], folder, seed))
    marked = work.stage(f"{name}-marks", lambda folder: making.examined(trained / "model", run, folder, LESSONS))
    marks: Marks = json.loads((marked / making.MARKS).read_text())
    return {suite: marks[mark]["right"] for suite, (_, mark) in ASKED.items()}


def publish(scores: Mapping[str, Sequence[Mapping[str, float]]], folder: Path) -> None:
    """The scores of every seed as JSON, their means with intervals as a table and as a picture. Raises OSError."""
    first = {suite: statistics.fmean(seed[suite] for seed in scores[ORDERS[0]]) for suite in ASKED}
    lines = [_line(suite, scores, first[suite]) for suite in ASKED]
    facts = {"commit": _commit(), "seeds": SEEDS, "scores": {order: list(scores[order]) for order in ORDERS}}
    (folder / "figure3.json").write_text(json.dumps(facts, indent=1))
    (folder / "figure3.md").write_text(table(scores))
    draw(ORDERS, lines, folder / "figure3.png")


def _line(suite: str, scores: Mapping[str, Sequence[Mapping[str, float]]], first: float) -> ComparisonRow:
    found = {order: [seed[suite] for seed in scores[order]] for order in ORDERS}
    values = tuple(statistics.fmean(found[order]) for order in ORDERS)
    relative = tuple(value / first if first else None for value in values)
    spread = tuple(interval(found[order]) / first if first else 0.0 for order in ORDERS)
    return ComparisonRow(suite, "right", False, values, relative, (len(SEEDS),) * len(ORDERS), spread)


def interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of their mean, after Student. KeyError for one value, or more than five."""
    return T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def table(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Means with their intervals as Markdown, a line for each order."""
    lines = [f"| order | {' | '.join(ASKED)} |", "|---|" + "---|" * len(ASKED)]
    for order in ORDERS:
        found = [[seed[suite] for seed in scores[order]] for suite in ASKED]
        cells = [f"{statistics.fmean(values):.3f} ± {interval(values):.3f}" for values in found]
        lines.append(f"| {order} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _commit() -> str:
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    print(figure3(Work(Path(sys.argv[1]), print)))  # noqa: T201
