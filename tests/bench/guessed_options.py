"""How often multiple choices are guessed from their options alone: `python -m tests.bench.guessed_options`.

The annotator is scripted (`tests.pipeline.world.choosing`): it writes the right option with a detail in half of the
questions, and proposes good and bad distractors. So the figures are about the rules, not about a model. Compared are
options that the model writes with the question and options drawn from the clip, over the same clips of five parts; a
slanted model makes every answer a little longer than what it lists. Seeds 2421 and 2422, which nothing was built with:
500 clips, 1,432 questions. Right guesses in %, with intervals of 95 %; chance is 25.

                            options of the model    from the clip       from the clip, slanted
    questions               1,326                   436                 330
    longest                 63.7 (61.1-66.3)        21.3 (17.7-25.4)    21.5 (17.4-26.3)
    shortest                11.3 (9.7-13.1)         25.1 (21.2-29.3)    23.4 (19.1-28.2)
    odd one out             27.1 (24.8-29.6)        24.3 (20.5-28.6)    24.2 (19.9-29.1)
    most like the others    22.9 (20.7-25.2)        24.3 (20.5-28.6)    24.0 (19.7-28.8)
    letter A                35.2 (32.7-37.8)        23.4 (19.7-27.6)    23.3 (19.1-28.2)
    length bias, mean       0.65                    -0.08               -0.09

The price is yield: 30 and 23 % of the questions have three such distractors. nano, 40 clips: with options of its own it
writes no question that can be read; of 29 clips with readable questions in words, no list of distractors can be.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.records import Question
from pipeline.annotation.media_loader import MediaLoader
from pipeline.annotation.text_rules import LETTERS
from pipeline.pack.shortcuts import option_length_bias
from pipeline.report.reviews import wilson
from pipeline.steps.ask import Ask, AskInput, AskSettings
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.vocabulary import VOICE
from stages.text_metrics import f1
from tests.pipeline.scripted import footage, ready
from tests.pipeline.test_ask import asking
from tests.pipeline.world.choosing import choosing, questions_about
from tests.pipeline.world.media import media_digest, write_clips

SEEDS, CLIPS, PARTS = (2421, 2422), 250, 5
BATCH = 32


def likeness(options: Sequence[str]) -> list[float]:
    """How like the others each option is, by its words."""
    return [
        statistics.fmean(f1(each, other) for m, other in enumerate(options) if m != n) for n, each in enumerate(options)
    ]


GUESSES: Mapping[str, Callable[[Sequence[str]], Sequence[float]]] = {
    "longest": lambda options: [len(each) for each in options],
    "shortest": lambda options: [-len(each) for each in options],
    "odd one out": lambda options: [-each for each in likeness(options)],
    "most like the others": likeness,
    "letter A": lambda options: [-n for n in range(len(options))],
    "letter B": lambda options: [n == 1 for n in range(len(options))],
}


def guessed(question: Question, score: Callable[[Sequence[str]], Sequence[float]]) -> float:
    """The probability that the option with the highest score is right; of equal ones, any is taken."""
    scores = list(score(question.options))
    best = [n for n, each in enumerate(scores) if each == max(scores)]
    return (LETTERS.index(question.answer) in best) / len(best)


def option_scores(questions: Sequence[Question]) -> dict[str, Any]:
    """The share of questions that each guess gets right, with its interval of 95 %, and the bias in length."""
    bias = [option_length_bias(each.answer, each.options) or 0.0 for each in questions]
    found: dict[str, Any] = {
        "questions": len(questions),
        "letters": dict(sorted(Counter(each.answer for each in questions).items())),
        "length bias, mean": round(statistics.fmean(bias), 3),
        "length bias over 0": round(sum(each > 0 for each in bias) / len(bias), 3),
    }
    for name, score in GUESSES.items():
        right = sum(guessed(each, score) for each in questions)
        low, high = wilson(round(right), len(questions))
        found[name] = [round(right / len(questions), 3), round(low, 3), round(high, 3)]
    return found


def ask_all(
    root: Path, inputs: Sequence[AskInput], scenes: Mapping[str, Scene], distractors: Any, slanted: bool = False
) -> dict[str, Any]:
    """Ask about all clips; the scores of the options, and what became of the questions."""
    step = Ask(AskSettings(multiple_choice=True, distractors=distractors))
    ready(step, root)
    step.model = choosing(known_clips(root, inputs, scenes), slanted)
    kept, dropped = run_all(step, inputs)
    asked = sum(len(questions_about(scene)) for scene in scenes.values())
    return {"asked": asked, "clips dropped": dict(dropped), **option_scores(kept)}


def run_all(step: Ask, inputs: Sequence[AskInput]) -> tuple[list[Question], Counter[str]]:
    """The questions about all clips, and the reasons of those without."""
    kept, dropped = list[Question](), Counter[str]()
    for start in range(0, len(inputs), BATCH):
        for answer in step.run(inputs[start : start + BATCH]):
            if isinstance(answer, list):
                kept += answer
            else:
                dropped[str(getattr(answer, "reason", answer))] += 1
    return kept, dropped


def nano_scores(root: Path, count: int) -> dict[str, Any]:
    """What becomes of nano's questions about clips of two parts, with options of both styles."""
    scenes = [compose_scene(SEEDS[0], number) for number in range(count)]
    said = [" ".join(sound.text for sound in scene.sounds if sound.name == VOICE) for scene in scenes]
    inputs = [asking(clip, text) for clip, text in zip(write_clips(root, scenes), said, strict=True)]
    found = {}
    for distractors in ("model", "clip"):
        step = Ask(AskSettings(multiple_choice=True, distractors=distractors, longest=200))
        ready(step, root, engine="torch", model="nano")
        kept, dropped = run_all(step, inputs)
        found[f"nano, {distractors}"] = {"clips": count, "questions": len(kept), "clips dropped": dict(dropped)}
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="How often options are guessed.")
    parser.add_argument("--nano", type=int, default=0, help="Clips that nano asks about.")
    nano = parser.parse_args().nano
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scenes = scenes_of(SEEDS, CLIPS)
        inputs = inputs_of(root, scenes)
        found = {style: ask_all(root, inputs, scenes, style) for style in ("model", "clip")}
        found["clip, slanted"] = ask_all(root, inputs, scenes, "clip", slanted=True)
        if nano:
            found |= nano_scores(root, nano)
    json.dump(found, sys.stdout, indent=1)


def scenes_of(seeds: Sequence[int], count: int) -> dict[str, Scene]:
    """Clips of all kinds with five parts, by name."""
    some = [compose_scene(seed, number, PARTS) for seed in seeds for number in range(count)]
    return {scene.name: scene for scene in some}


def inputs_of(root: Path, scenes: Mapping[str, Scene]) -> list[AskInput]:
    """An input of `ask` for each clip; its media only tell it from the others."""
    return [asking(footage(root, name, seed=n, seconds=0.05, size=(32, 32))) for n, name in enumerate(scenes)]


def known_clips(root: Path, inputs: Sequence[AskInput], scenes: Mapping[str, Scene]) -> dict[str, Scene]:
    """The scenes by the digests of their frames."""
    load = MediaLoader(str(root))
    return {media_digest(load(each.footage).video): scenes[each.footage.clip] for each in inputs}


if __name__ == "__main__":
    main()
