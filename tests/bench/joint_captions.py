"""Invented facts in joint captions, direct and merged: `python -m tests.bench.joint_captions [--nano CLIPS]`.

The annotator is scripted (`tests.pipeline.world.inventing`): it invents at known rates, also when it merges, and judges
claims with a known rate of errors. So the figures are about the machinery: what becomes of facts that a model invents.
With `--nano`, nano describes and judges some of the clips itself. Seeds 2401 and 2402, which nothing was built with:
400 clips, 360 of them with sound. Intervals are of 95 %.

                                invented facts a caption    captions with any    true facts told
    direct                      0.83 +- 0.07                68.6 %               100 %
    merged, no claim checked    0.98 +- 0.08                70.8 %               100 %
    merged, a judge that never errs     0.19 +- 0.04        18.1 %               100 %
            errs in 10 %                0.34 +- 0.06        28.6 %               91.3 %
            errs in 20 %                0.48 +- 0.07        39.7 %               85.3 %
            errs in 30 %                0.59 +- 0.07        46.7 %               78.7 %

A judge that errs in 10 % leaves 41 % of the invented facts, one that errs in 20 % leaves 58 %. It confirms all that it
invented from the same sense (0.19 facts a caption), and two tries double its errors.

nano, 54 clips with sound: 1.44 +- 0.26 invented facts and 33 % of the true ones direct. It was not taught to merge: of
48 merged captions none has a fact, and 6 are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.records import ClipMedia
from pipeline.annotation.annotator import Annotator
from pipeline.annotation.media_loader import MediaLoader
from pipeline.steps.caption import Captioning, CaptionSettings
from pipeline.synthetic.world.scenes import Scene, compose_scene
from tests.pipeline.scripted import ready
from tests.pipeline.world.inventing import Facts, facts_in, inventing
from tests.pipeline.world.media import media_digest, write_clips

SEEDS, CLIPS = (2401, 2402), 200  # a seed; one in ten has no sound track and thus no joint caption
ERRORS = (0.0, 0.1, 0.2, 0.3)
BATCH = 32
UNCHECKED = 0.01  # a support that every claim has


def caption_scores(step: Captioning, clips: Sequence[ClipMedia], scenes: Mapping[str, Scene]) -> dict[str, Any]:
    """Invented and lost facts of the joint captions of some clips; an interval of 95 % for the mean."""
    invented, kept, true, left_out = list[int](), 0, 0, 0
    for start in range(0, len(clips), BATCH):
        for clip, answer in zip(clips[start:], step.run(clips[start : start + BATCH]), strict=False):
            captions = [each for each in answer if each.view == "joint"] if isinstance(answer, list) else []
            left_out += not captions and clip.sound is not None
            for caption in captions:
                facts, told = Facts.of(scenes[clip.id]), facts_in(caption.text)
                invented.append(sum(fact not in (*facts.picture, *facts.sound) for fact in told))
                kept += sum(fact in told for fact in (*facts.picture, *facts.sound))
                true += len(facts.picture) + len(facts.sound)
    half = 1.96 * statistics.stdev(invented) / len(invented) ** 0.5 if len(invented) > 1 else None
    return {
        "captions": len(invented),
        "left_out": left_out,
        "invented": round(statistics.fmean(invented), 3) if invented else None,
        "interval": None if half is None else round(half, 3),
        "with_invented": round(sum(map(bool, invented)) / len(invented), 3) if invented else None,
        "true_facts_told": round(kept / true, 3) if true else None,
    }


def scenes_of(seeds: Sequence[int], count: int) -> list[Scene]:
    """Clips of all kinds, as `ola world make` composes them."""
    return [compose_scene(seed, number) for seed in seeds for number in range(count)]


def open_step(root: Path, model: Annotator, **settings: Any) -> Captioning:
    """The step with joint captions alone."""
    step = Captioning(CaptionSettings(kinds=("joint",), **settings))
    ready(step, root)
    step.model = model
    return step


def scripted_scores(root: Path, clips: Sequence[ClipMedia], scenes: Mapping[str, Scene]) -> dict[str, Any]:
    """The scores of the scripted annotator: direct, merged without the check of claims, and with it."""
    known = dict[str, Scene]()
    for clip in clips:
        loaded = MediaLoader(str(root))(clip)
        media = (loaded.video, loaded.sound)
        known |= {media_digest(each): scenes[clip.id] for each in media if each is not None}
    found = {
        "direct": caption_scores(open_step(root, inventing(known)), clips, scenes),
        "merged, unchecked": caption_scores(
            open_step(root, inventing(known), joint="merged", support=UNCHECKED), clips, scenes
        ),
    }
    for error in ERRORS:
        step = open_step(root, inventing(known, error), joint="merged")
        found[f"merged, judge errs in {error:.0%}"] = caption_scores(step, clips, scenes)
    return found


def nano_scores(root: Path, clips: Sequence[ClipMedia], scenes: Mapping[str, Scene]) -> dict[str, Any]:
    """The scores of nano, with the texts of a few clips."""
    found: dict[str, Any] = {}
    for joint in ("direct", "merged"):
        step = Captioning(CaptionSettings(kinds=("joint",), joint=joint, longest=96))
        ready(step, root, engine="torch", model="nano")
        found[f"nano {joint}"] = caption_scores(step, clips, scenes)
        found[f"nano {joint}, texts"] = [
            [(each.text, each.asked.answer) for each in answer] if isinstance(answer, list) else str(answer)
            for answer in step.run(clips[:4])
        ]
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Invented facts in joint captions.")
    parser.add_argument("--nano", type=int, default=0, help="Clips that nano describes.")
    nano = parser.parse_args().nano
    with tempfile.TemporaryDirectory() as folder:
        some = scenes_of(SEEDS, CLIPS)
        scenes, clips = {scene.name: scene for scene in some}, write_clips(Path(folder), some)
        found = scripted_scores(Path(folder), clips, scenes)
        if nano:
            found |= nano_scores(Path(folder), clips[:nano], scenes)
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
