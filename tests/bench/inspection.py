"""Measure how well the scores of step `inspect` part made films with a planted fault from the same films without.

    python -m tests.bench.inspection --seeds 24        films of other seeds than those that chose the limits
    python -m tests.bench inspection                   seconds a clip by family

A film has 12 seconds of 384 x 288 (see `duplicate_films`). Faults are planted with ffmpeg in the video; codecs, and the
step `extract` with its default settings, come after them. AUC: the chance that a film with the fault has the higher
score (or the lower one, where the fault lowers it) than a film without, over all pairs. A clip of 48 s takes 0.07 s
of a core: picture 0.04, sound 0.03, changes 0.01; with text 0.30 s without a line, 0.40 with a subtitle, 0.67 with four
or five lines in each frame; of the other families, speech takes 0.05 s, quality 0.50, nudity 0.08. AUC of five seeds
that chose no limit:

| fault | score | clips | AUC | median without | with |
|---|---|---|---|---|---|
| blur, 1 pixel | `sharpness` | 5 | 0.880 | 0.04857 | 0.01587 |
| blur, 2 pixels | `sharpness` | 5 | 1.000 | 0.04857 | 0.007796 |
| blur, 8 pixels | `spatial_information` | 5 | 1.000 | 23.9 | 6.329 |
| slow motion, 8 x | `temporal_information` | 25 | 1.000 | 21.38 | 5.455 |
| letterbox | `bars` | 5 | 1.000 | 0 | 0.25 |
| pillarbox | `bars` | 5 | 1.000 | 0 | 0.25 |
| thin letterbox | `bars` | 5 | 1.000 | 0 | 0.05263 |
| still | `still` | 5 | 1.000 | 0 | 1 |
| still, grain | `still` | 5 | 1.000 | 0 | 1 |
| slides | `slideshow` | 5 | 1.000 | 0 | 1 |
| slides, grain | `slideshow` | 5 | 1.000 | 0 | 1 |
| clipped by 12 dB | `clipping` | 5 | 1.000 | 0 | 0.001083 |
| telephone | `bandwidth` | 5 | 1.000 | 8000 | 4312 |
| 11 kHz | `bandwidth` | 5 | 1.000 | 8000 | 6000 |
| hum | `hum` | 5 | 1.000 | 2.608 | 21.37 |
| DC offset, 2 % | `dc_offset` | 5 | 1.000 | 0.0003507 | 0.02026 |
| pauses | `noise_floor` | 5 | 1.000 | -25.96 | -64.02 |
| noise, -45 dBFS | `noise_floor` | 5 | 1.000 | -64.02 | -46.68 |
| dropouts | `dropouts` | 5 | 1.000 | 0 | 30 |
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from manifests.inspection_records import Inspection
from manifests.records import ClipMedia
from pipeline.config import load
from pipeline.inspection.packages import FAMILIES
from pipeline.plan import Plan, ok_records
from pipeline.run import run
from pipeline.steps.inspection import Inspect, InspectSettings
from pipeline.synthetic.world import fault_metrics
from tests.bench.duplicate_films import change_film, make_film
from tests.bench.measure import Figure, Target, timed
from tests.bench.videos import Videos

FIRST_SEED = 9000  # those below 100 chose the limits
SECONDS = 12.0
BUILT_IN = ("picture", "changes", "sound")
HUM = "+".join(f"{height}*sin(2*PI*{50 * n}*t)" for n, height in ((1, 0.004), (2, 0.003), (3, 0.002), (4, 0.001)))
PAUSES = "volume=0.01:enable='lt(mod(t,3),1)'"  # the notes of the films have none
SLIDES = "fps=1/3,fps=12"


@dataclass(frozen=True)
class Fault:
    """A planted fault. options: of ffmpeg. score: that it moves. low: whether it lowers the score.

    beside: the fault of the films without; none for "".
    """

    options: tuple[str, ...]
    score: str
    low: bool = False
    beside: str = ""


FAULTS: Mapping[str, Fault] = {
    "blur, 1 pixel": Fault(("-vf", "gblur=1"), "sharpness", low=True),
    "blur, 2 pixels": Fault(("-vf", "gblur=2"), "sharpness", low=True),
    "blur, 8 pixels": Fault(("-vf", "gblur=8"), "spatial_information", low=True),
    "slow motion, 8 x": Fault(("-vf", "setpts=8*PTS,fps=12"), "temporal_information", low=True),
    "letterbox": Fault(("-vf", "pad=iw:ih*4/3:0:(oh-ih)/2"), "bars"),
    "pillarbox": Fault(("-vf", "pad=iw*4/3:ih:(ow-iw)/2:0"), "bars"),
    "thin letterbox": Fault(("-vf", "pad=iw:ih*1.06:0:(oh-ih)/2"), "bars"),
    "still": Fault(("-vf", "loop=-1:1,trim=duration=12"), "still"),
    "still, grain": Fault(("-vf", "loop=-1:1,trim=duration=12,noise=alls=12:allf=t"), "still"),
    "slides": Fault(("-vf", SLIDES), "slideshow"),
    "slides, grain": Fault(("-vf", f"{SLIDES},noise=alls=12:allf=t"), "slideshow"),
    "clipped by 12 dB": Fault(("-af", "volume=12dB,aformat=s16"), "clipping"),
    "telephone": Fault(("-af", "aresample=8000,aresample=44100"), "bandwidth", low=True),
    "11 kHz": Fault(("-af", "aresample=11025,aresample=44100"), "bandwidth", low=True),
    "hum": Fault(("-af", f"aeval=val(0)+{HUM}:c=same"), "hum"),
    "DC offset, 2 %": Fault(("-af", "aeval=val(0)+0.02:c=same"), "dc_offset"),
    "pauses": Fault(("-af", PAUSES), "noise_floor", low=True),
    "noise, -45 dBFS": Fault(
        ("-af", f"{PAUSES},aeval=val(0)+0.01*(2*random(0)-1):c=same"), "noise_floor", beside="pauses"
    ),
    "dropouts": Fault(("-af", "volume=0:enable='lt(mod(t+1,2),0.1)'"), "dropouts"),
}


def measure(videos: Videos) -> Iterator[Figure]:
    """Seconds a clip of 48 frames of 384 x 288 and 48 s of sound, by family."""
    film = make_film(videos.folder / "inspected.mp4", 1, 48.0)
    root = videos.folder / "inspected"
    whole = [*sets(), "split.longest=96", "split.shortest=47"]
    plan = run(load(None, whole, {"inputs": [str(film)]}), str(root))
    media = ok_records(ClipMedia, plan.find_step("extract").manifest.read(0))
    installed = [name for name, family in FAMILIES.items() if all(map(find_spec, family.modules))]
    together = {"by default": BUILT_IN, "by default, and text": (*BUILT_IN, "text")}
    for what, families in {**{name: (name,) for name in (*BUILT_IN, *installed)}, **together}.items():
        if {"text"} & set(families) - set(installed):
            continue
        step = Inspect(InspectSettings.model_validate({name: name in families for name in (*BUILT_IN, *FAMILIES)}))
        step.root = str(root)
        step.open()
        step.run(media)  # the first clip allocates what the models need
        seconds = [timed(partial(step.run, media)) / len(media) for _ in range(3)]
        target = Target("≤", 0.6, "s") if what in together else None
        yield Figure("inspection", f"inspect a clip of 48 s: {what}", "absolute", "s", seconds, target=target)


def sets() -> list[str]:
    """Settings of a run of whole films that stops after `extract`."""
    return ["steps=[ingest,split,extract]", "extra_steps=[inspect]", "split.longest=24", "split.shortest=11"]


def separations(folder: Path, first: int, seeds: int) -> Iterator[tuple[str, str, int, float, float, float]]:
    """Yield of each fault its name, its score, its clips, AUC, and the median without and with the fault.

    A film is one clip: of slow motion, several.
    """
    kinds = list(dict.fromkeys(fault.options for fault in FAULTS.values()))  # two scores may be of the same films
    films = [make_film(folder / f"{seed}-plain.mp4", seed, SECONDS) for seed in range(first, first + seeds)]
    for film in films:
        for options in kinds:
            change_film(film, folder / f"{film.stem.split('-')[0]}-{kinds.index(options)}.mp4", options)
    plan = run(load(None, sets(), {"inputs": [str(folder)]}), str(folder / "root"))
    scores = read_scores(plan)
    for name, fault in FAULTS.items():
        without = str(kinds.index(FAULTS[fault.beside].options)) if fault.beside else "plain"
        of_kinds = (scores[without], scores[str(kinds.index(fault.options))])
        plain, faulty = ([getattr(each, fault.score) for each in of_kind] for of_kind in of_kinds)
        yield (
            name,
            fault.score,
            len(faulty),
            auc(plain, faulty, fault.low),
            float(np.median(plain)),
            float(np.median(faulty)),
        )


def read_scores(plan: Plan) -> dict[str, list[Inspection]]:
    """Read the scores of all clips, by the kind of their film."""
    found: dict[str, list[Inspection]] = {}
    ingest, manifest = plan.find_step("ingest").manifest, plan.find_step("inspect").manifest
    for part in manifest.committed():
        kinds = {row["id"]: Path(row["uri"]).stem.split("-")[1] for row in ingest.read(part).to_pylist()}
        for each in ok_records(Inspection, manifest.read(part)):
            found.setdefault(kinds[each.clip[:20]], []).append(each)
    return found


def auc(plain: list[float | None], faulty: list[float | None], low: bool) -> float:
    """Return the share of pairs in which the faulty film has the higher (or lower) score; NaN without a pair."""
    share = fault_metrics.auc(plain, faulty, low)
    return math.nan if share is None else share


def main() -> None:
    """Print a row per fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as folder:
        for name, score, films, area, plain, faulty in separations(Path(folder), asked.first, asked.seeds):
            print(f"| {name} | `{score}` | {films} | {area:.3f} | {plain:.4g} | {faulty:.4g} |", flush=True)


if __name__ == "__main__":
    main()
