"""Measure how well `inspect` tells subtitles from other text, and `words_on_screen` films that show what is said.

    python -m tests.bench.screen_text --films 10       films of each size and place of subtitles

The films have 14 seconds of 640 x 360 (see `text_films`); the seeds below 100 chose the limits. A film counts as
subtitled if a tenth of the frames that are read have a subtitle. Of each size and place, nine films show what is said,
and nine show other text; their seeds chose no limit:

| what | films | value |
|---|---|---|
| found: subtitles of 0.045 of the height, bottom; top | 18; 18 | 1.000; 0.944 |
| found: subtitles of 0.06 of the height, bottom; top | 18; 18 | 1.000; 1.000 |
| found: subtitles of 0.08 of the height, bottom; top | 18; 18 | 1.000; 1.000 |
| found: all subtitles | 108 | 0.991 |
| false alarms: text on things | 30 | 0.000 |
| AUC of `words_on_screen`: what is said, against other subtitles | 108 | 1.000 |
| AUC of `words_on_screen`: what is said, against all others | 138 | 1.000 |
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from manifests import views
from pipeline.config import load
from pipeline.pack.candidates import create_candidates
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.run import run
from tests.bench.inspection import auc
from tests.bench.text_films import PLACES, SIZES, TextFilm, make_text_film

FIRST_SEED = 7000
LEAST = 0.1  # share of frames with a subtitle from which a film counts as subtitled
FAMILIES = ("text", "picture", "changes", "sound", "speech", "quality", "nudity")
QUERY = "SELECT DISTINCT uri, subtitles, words_on_screen, text_area FROM candidates"


@dataclass(frozen=True)
class Scores:
    """The scores of a film."""

    subtitles: float
    words_on_screen: float | None
    text_area: float


def plan_films(first: int, films: int) -> list[TextFilm]:
    """Return the films: for each size and place some with what is said and some with other text, and some without."""
    subtitled = [(size, place, says) for size in SIZES for place in PLACES for says in (True, False)]
    found = [
        TextFilm(first + films * number + n, size, place, says, signs=n % 2 == 1, stands=n % 4 > 1)
        for number, (size, place, says) in enumerate(subtitled)
        for n in range(films)
    ]
    seed = first + films * len(subtitled)
    found += [TextFilm(seed + n, signs=True, stands=n % 2 == 1) for n in range(films * 2 * len(SIZES) * 2)]
    return found + [TextFilm(seed + len(found) + n) for n in range(films)]


def score_films(folder: Path, films: Sequence[TextFilm]) -> dict[TextFilm, Scores]:
    """Make the films and return their scores."""
    inputs = folder / "films"
    inputs.mkdir()
    for film in films:
        make_text_film(inputs, film)
    plan = run(load(None, sets(), {"inputs": [str(inputs)]}), str(folder / "root"))
    found = read_scores(plan)
    return {film: found[film.name] for film in films}


def sets() -> list[str]:
    """Settings of a run of whole films that reads their text alone."""
    steps = ("steps=[ingest,split,extract,transcribe]", "extra_steps=[inspect]")
    families = (f"inspect.{name}={str(name == 'text').lower()}" for name in FAMILIES)
    return [*steps, "split.longest=24", "split.shortest=11", *families]


def read_scores(plan: Plan) -> Mapping[str, Scores]:
    """Read the scores of all films by their names."""
    with views.connect(plan.root, plan.manifests, {}) as connection:
        create_candidates(connection, plan, PackSettings())
        return {Path(uri).stem: Scores(*scores) for uri, *scores in connection.sql(QUERY).fetchall()}


def results(scores: Mapping[TextFilm, Scores]) -> Iterator[tuple[str, int, float]]:
    """Yield what is measured, its number of films, and the share or the AUC."""
    for size in SIZES:
        for place in PLACES:
            alike = [each for film, each in scores.items() if (film.size, film.place) == (size, place)]
            found = [each.subtitles >= LEAST for each in alike]
            yield f"found: subtitles of {size:g} of the height, {place}", len(found), float(np.mean(found))
    found = [each.subtitles >= LEAST for film, each in scores.items() if film.size]
    yield "found: all subtitles", len(found), float(np.mean(found))
    for signs, what in ((True, "text on things"), (False, "no text")):
        alarms = [each.subtitles >= LEAST for film, each in scores.items() if not film.size and film.signs is signs]
        yield f"false alarms: {what}", len(alarms), float(np.mean(alarms))
    same = [each.words_on_screen for film, each in scores.items() if film.size and film.says]
    for what, films in (
        ("other subtitles", [film for film in scores if film.size and not film.says]),
        ("all others", [film for film in scores if not (film.size and film.says)]),
    ):
        others = [scores[film].words_on_screen for film in films]
        count = len(same) + len(others)
        yield f"AUC of `words_on_screen`: what is said, against {what}", count, auc(others, same, False)
    for what, values in (("what is said is shown", same), ("it is not", others)):
        known = [value for value in values if value is not None]
        yield f"median of `words_on_screen` where {what}", len(known), float(np.median(known))


def main() -> None:
    """Print a row per result, and the films that are wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=10)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as folder:
        scores = score_films(Path(folder), plan_films(asked.first, asked.films))
    for what, count, value in results(scores):
        print(f"| {what} | {count} | {value:.3f} |", flush=True)
    for film, each in scores.items():
        if (each.subtitles >= LEAST) is not bool(film.size):
            print(film.name, each)


if __name__ == "__main__":
    main()
