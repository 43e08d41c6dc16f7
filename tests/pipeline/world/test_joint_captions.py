"""Merged captions hold at most half of the facts that a model invents when it describes both senses at once."""

from __future__ import annotations

from pathlib import Path

from pipeline.annotation.media_loader import MediaLoader
from pipeline.synthetic.world.scenes import compose_scene
from tests.bench.joint_captions import caption_scores, open_step
from tests.pipeline.scripted import footage
from tests.pipeline.world.inventing import facts_in, inventing
from tests.pipeline.world.media import media_digest

SEED, CLIPS, ERROR = 7, 80, 0.1


def test_claims_without_support_are_taken_out_and_few_true_ones(tmp_path: Path) -> None:
    scenes = {scene.name: scene for scene in (compose_scene(SEED, n, kind="linked") for n in range(CLIPS))}
    clips = [footage(tmp_path, name, seed=n, seconds=0.05, size=(32, 32)) for n, name in enumerate(scenes)]
    load = MediaLoader(str(tmp_path))
    known = {media_digest(each): scenes[clip.id] for clip in clips for each in (load(clip).video, load(clip).sound)}
    direct = caption_scores(open_step(tmp_path, inventing(known)), clips, scenes)
    merged = caption_scores(open_step(tmp_path, inventing(known, ERROR), joint="merged"), clips, scenes)
    unchecked = caption_scores(open_step(tmp_path, inventing(known), joint="merged", support=0.01), clips, scenes)
    assert direct["captions"] == merged["captions"] == CLIPS
    assert unchecked["invented"] >= direct["invented"] > 0.6, "the scripted model invents as often when it merges"
    assert merged["invented"] <= direct["invented"] / 2
    assert merged["true_facts_told"] > 0.85
    assert (direct["true_facts_told"], unchecked["true_facts_told"]) == (1, 1)


def test_facts_are_found_in_a_text() -> None:
    told = "A large red circle and a blue star meet, a siren is heard. Nothing is heard. A voice says two dogs loudly."
    assert facts_in(told) == [
        "a large red circle and a blue star meet",
        "a siren is heard",
        "nothing is heard",
        "a voice says two dogs",
    ]
    assert facts_in("A cook waves. A voice says hello.") == []
