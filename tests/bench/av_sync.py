"""Measure how well step `sync` parts films in sync from the same films with shifted or foreign sound.

    python -m tests.bench.av_sync --seeds 20          films of other seeds than those that chose the limits

A film has 20 seconds with 4 to 12 events that are seen and heard, up to two that are only seen, and up to two that are
only heard (see `sync_films`). Picture and sound go through codecs. The sound is then moved by 0.5 to 2.5 seconds, or
replaced by that of another film. AUC: the chance that a film in sync has the higher `av_sync`, over all pairs of those
that have a score. Twenty seeds of each kind that chose no limit:

| events | films | null | AUC shifted | AUC foreign | median in sync | shifted | foreign | lag found |
|---|---|---|---|---|---|---|---|---|
| jump | 20 | 3 | 0.990 | 1.000 | 0.60 | 0.09 | 0.07 | 17 of 17 |
| flash | 20 | 6 | 1.000 | 1.000 | 0.55 | 0.07 | 0.05 | 14 of 14 |
| bounce | 20 | 17 | 1.000 | 1.000 | 0.25 | 0.08 | 0.10 | 2 of 3 |
| cut | 20 | 1 | 1.000 | 1.000 | 0.56 | 0.04 | 0.08 | 18 of 19 |
| mixed | 20 | 7 | 0.982 | 0.976 | 0.48 | 0.07 | 0.08 | 12 of 13 |
| all | 100 | 34 | 0.985 | 0.995 | 0.55 | 0.07 | 0.07 | 63 of 66 |
| still | 20 | 18 | | | | | | |
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.inspection.synchrony import Activity, Synchrony, measure_synchrony, picture_activity, sound_activity
from pipeline.media.audio import RATE
from pipeline.media.audio_extraction import ClipRequest
from pipeline.media.extraction import extract_clips
from pipeline.media.packet_sizes import read_packet_sizes
from pipeline.media.render import FrameRenderer
from tests.bench.inspection import auc
from tests.bench.sync_films import KINDS, STILL, SyncFilm, plan_film, write_film
from tests.media import video_of

FIRST_SEED = 20_000  # those below 10,000 chose the limits
SECONDS = 20.0
Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Trial:
    """The scores of a film in sync, shifted, and with foreign sound. shift: in seconds."""

    kind: str
    shift: float
    scores: tuple[Synchrony | None, Synchrony | None, Synchrony | None]


def read_film(file: Path) -> tuple[Activity, Samples]:
    """Return the activity of the picture and the stored sound of a film."""
    video = video_of(file)
    request = ClipRequest(0, int(video.duration * 1000), (0.5,))
    (clip,) = extract_clips(str(file), video, [request], FrameRenderer.for_video(video, 90))
    samples = np.frombuffer(b"" if clip.pcm is None else bytes(clip.pcm), "<i2")
    return picture_activity(read_packet_sizes(str(file), video.picture), 0, video.duration), samples


def moved(samples: Samples, seconds: float) -> Samples:
    """Return the sound later by so many seconds, of the same length."""
    count = round(abs(seconds) * RATE)
    silence = np.zeros(count, np.int16)
    return np.concatenate([silence, samples[:-count]] if seconds > 0 else [samples[count:], silence])


def film_of(folder: Path, plan: SyncFilm) -> tuple[Activity, Samples]:
    """Make and read the film of a plan; its file is deleted."""
    film = write_film(plan, folder / f"{plan.seed}.mp4")
    read = read_film(film)
    film.unlink()
    return read


def try_film(plan: SyncFilm, seen: Activity, samples: Samples, foreign: Samples) -> Trial:
    """Score a film in sync, with its sound moved, and with foreign sound."""
    draw = np.random.default_rng([plan.seed, 34])
    shift = float(draw.choice([-1, 1]) * draw.uniform(0.5, 2.5))
    heard = (samples, moved(samples, shift), foreign)
    a, b, c = (measure_synchrony(seen, sound_activity(each)) for each in heard)
    return Trial(plan.kind, shift, (a, b, c))


def trials(first: int, seeds: int) -> list[Trial]:
    """Score films of each kind, and still ones. Foreign is the sound of the film before."""
    plans = [
        plan_film(first + 1000 * place + seed, kind, SECONDS)
        for place, kind in enumerate((*KINDS, STILL))
        for seed in range(seeds)
    ]
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as folder, ThreadPoolExecutor(2) as pool:
        read = list(pool.map(partial(film_of, Path(folder)), plans))
    return [try_film(plan, *read[n], read[n - 1][1]) for n, plan in enumerate(plans)]


def report(found: list[Trial]) -> Iterator[str]:
    """Yield a row of the table for each kind, and for all."""
    for kind in (*KINDS, "all"):
        members = [each for each in found if kind in (each.kind, "all") and each.kind != STILL]
        plain, shifted, foreign = (_values(members, place, lambda each: each.sync) for place in range(3))
        lags = [abs(b.lag - t.shift - a.lag) for t in members if (a := t.scores[0]) and (b := t.scores[1])]
        right = sum(lag <= 0.12 for lag in lags)
        nulls = sum(value is None for value in plain)
        numbers = f"{auc(plain, shifted, low=True):.3f} | {auc(plain, foreign, low=True):.3f}"
        medians = " | ".join(f"{np.median([v for v in of if v is not None]):.2f}" for of in (plain, shifted, foreign))
        yield f"| {kind} | {len(members)} | {nulls} | {numbers} | {medians} | {right} of {len(lags)} |"
    still = [each for each in found if each.kind == STILL]
    nulls = sum(each.scores[0] is None for each in still)
    yield f"| {STILL} | {len(still)} | {nulls} | | | | | | |"


def _values(members: list[Trial], place: int, pick: Callable[[Synchrony], float]) -> list[float | None]:
    return [None if (found := each.scores[place]) is None else pick(found) for each in members]


def main() -> None:
    """Print a row per kind of film."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.av_sync", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    chosen = parser.parse_args()
    print("| events | films | null | AUC shifted | AUC foreign | median in sync | shifted | foreign | lag found |")
    print("|---|---|---|---|---|---|---|---|---|")
    for line in report(trials(chosen.first, chosen.seeds)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
