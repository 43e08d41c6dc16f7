"""Write the questions about a film of the world as an annotator would who reads its truth, and falls for its plant.

Of a planted film it writes first what the plant makes easier or wrong: of a sound with two sources it asks for the one
source, and of a swapped sound track what its subtitles say. Of multiple choices it gives every second one away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from pipeline.annotation.text_rules import KINDS, SOUND_KINDS, QuestionDraft, question_flaws
from pipeline.synthetic.world.planted_questions import ANSWER_KINDS, is_planted, without_plant
from pipeline.synthetic.world.plants import SOURCES, SWAPPED, unplanted
from pipeline.synthetic.world.questions import QAPair, ambiguous_questions, answerable_questions, make_questions
from pipeline.synthetic.world.scenes import SEGMENT_S, Scene
from pipeline.synthetic.world.vocabulary import COLOURS, MOTIONS, MUSIC, NOUNS, NUMBERS, SHAPES, SIZES, SOUNDS, VOICE

COUNT = re.compile(r"Write (\d+) questions")
ABSURD = ("in the year of the flood", "because of the weather", "the third page of a letter", "behind the old harbour")
LETTERS = "ABCD"


def write_questions(scene: Scene, prompt: str) -> str:
    """The questions about a film, in the form of the prompt."""
    found = COUNT.search(prompt)
    kinds = SOUND_KINDS if "Nobody says a word" in prompt else KINDS
    pairs = choose_pairs(scene, kinds, int(found[1]) if found else 3)
    write = write_choice if "Give four options" in prompt else write_open
    return "\n".join(line for n, pair in enumerate(pairs, 1) for line in write(scene, pair, n))


def choose_pairs(scene: Scene, kinds: Sequence[str], count: int) -> list[QAPair]:
    """Some questions: of any needs, and as far as possible none against the rules of `ask`."""
    pairs = [pair for pair in written_pairs(scene) if pair.kind in kinds]
    Random(scene.name).shuffle(pairs)
    if scene.plant:
        pairs.sort(key=lambda pair: not is_planted(scene, pair.question, pair.answer))
    kept: list[QAPair] = []
    for pair in pairs:
        drafts = [QuestionDraft(each.kind, each.question, each.answer) for each in (*kept, pair)]
        if question_flaws(drafts, "")[-1] is None:
            kept.append(pair)
    return (kept + [pair for pair in pairs if pair not in kept])[:count]


def written_pairs(scene: Scene) -> list[QAPair]:
    """All questions that come to the writer's mind."""
    if scene.plant == SWAPPED:
        return answerable_questions(unplanted(scene))
    pairs = answerable_questions(without_plant(scene))
    return pairs + one_sided_pairs(scene) if scene.plant == SOURCES else pairs


def one_sided_pairs(scene: Scene) -> list[QAPair]:
    """Questions about a sound with two sources, with the first one as the answer."""
    ambiguous = ambiguous_questions(scene)
    first = tuple(replace(sound, start=0.2, end=SEGMENT_S - 0.1) for sound in scene.sounds)
    return [pair for pair in make_questions(replace(scene, sounds=first)) if pair.question in ambiguous]


def write_open(scene: Scene, pair: QAPair, number: int) -> Iterator[str]:
    """The lines of a question with an answer in words."""
    yield from (f"Q{number} ({pair.kind}): {pair.question}", f"A{number}: {pair.answer}")


def write_choice(scene: Scene, pair: QAPair, number: int) -> Iterator[str]:
    """The lines of a multiple choice; every second one gives its answer away."""
    rng = Random(f"{scene.name} {pair.question}")
    wrong = list(ABSURD) if number % 2 else alternatives(scene, pair)
    options = [pair.answer, *rng.sample(wrong, 3)]
    rng.shuffle(options)
    yield f"Q{number} ({pair.kind}): {pair.question}"
    yield from (f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))
    yield f"A{number}: {LETTERS[options.index(pair.answer)]}"


def alternatives(scene: Scene, pair: QAPair) -> list[str]:
    """Three wrong answers of the same kind, those of the clip first."""
    figures = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    of_kind = {
        "figures": [f"a {name}" for name in figures],
        "colour": list(COLOURS),
        "shape": list(SHAPES),
        "motion": list(MOTIONS),
        "size": [*SIZES, "tiny", "huge"],
        "sound": [f"a {name}" for name in (VOICE, *SOUNDS, *MUSIC)],
        "phrase": [f"{number} {noun}" for number in NUMBERS for noun in NOUNS],
        "number": list(NUMBERS),
    }
    kind = next((kind for kind, pattern in ANSWER_KINDS.items() if re.fullmatch(pattern, pair.answer)), "figures")
    own = [each.answer for each in answerable_questions(without_plant(scene)) if each.form == pair.form]
    others = [text for text in dict.fromkeys((*own, *of_kind[kind])) if text != pair.answer]
    return others[:3]
