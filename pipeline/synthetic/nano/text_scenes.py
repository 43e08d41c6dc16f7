"""Training conversations about scenes that are described in text alone.

Of each scene there is one sample in which it is told, and one in which it is not: there a question is without its
clip, an answer is to be compared, a transcript to be judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from pipeline.synthetic.nano import lookup_examples, motion_examples
from pipeline.synthetic.nano.answers import NUMBERS_OF_SCENES, Exchange, bare, checked, strangers, unanswered, undecided
from pipeline.synthetic.nano.judge_examples import agreeing, screened
from pipeline.synthetic.nano.text_shards import sample_of, shelve
from pipeline.synthetic.world.captions import said, seen
from pipeline.synthetic.world.questions import Posed, questions
from pipeline.synthetic.world.scenes import Scene, compose
from pipeline.synthetic.world.vocabulary import SPLITS, split_named, split_of
from stages.samples import Sample

LOOK_UPS = ASKED = 20  # of a scene that is told, where it has so many
STRANGERS = 4
# Seeds of scenes: half of them with the pairs that no film for training has, else the decoder learns which pairs there
# are, and does not believe its eyes. The first seed of a split is that of the films it is examined with.
READ = (SPLITS[0].seeds, split_named("test-pairs").seeds[1:])
ALONE, COMPARED = 2, 10  # questions without their clip, and answers to compare, of a scene that is not told


class Named(NamedTuple):
    """An exchange and what is taught by it, for counts."""

    name: str
    exchange: Exchange


def write_texts(root: str, name: str, scenes: int, seed: int, primer: bool = False) -> Counter[str]:
    """Write so many scenes of `READ` as the shard set `name` of a root; how many tasks there are by name.

    primer: nothing but look-ups of one step, which are to be learned before all else. The same seed gives the same
    set. Raises OSError.
    """
    counts = Counter[str]()
    counts["in all"] = shelve(root, name, _samples(scenes, seed, primer, counts))
    return counts


def _samples(scenes: int, seed: int, primer: bool, counts: Counter[str]) -> Iterator[Sample]:
    for number in range(scenes):
        chance = Random(f"written {seed} {number}")
        scene = drawn(chance)
        own = questions(scene)
        told = looked_up(scene) if primer else in_text(scene, own, chance)
        for kind, tasks in (("told", told), *(() if primer else [("alone", alone(scene, own, chance))])):
            counts.update(task.name for task in tasks)
            facts = {"seed": scene.seed, "number": scene.number, "kind": scene.kind}
            yield sample_of(f"written-{seed}-{number:06d}-{kind}", [task.exchange for task in tasks], facts)


def drawn(chance: Random) -> Scene:
    """Any scene but a mute one, of which nobody could tell what is heard."""
    while True:
        scene = compose(chance.choice(chance.choice(READ)), chance.randrange(NUMBERS_OF_SCENES))
        if scene.kind != "mute":
            return scene


def in_text(scene: Scene, own: list[Posed], chance: Random) -> list[Named]:
    """Return tasks about one scene described in text; half of them are look-ups."""
    asked = [
        *(Named("text verify", checked(scene, posed, "both")) for posed in own),
        *(Named("text bare", bare(posed)) for posed in own),
    ]
    other = [
        *(Named("text strange", unanswered(posed)) for posed in strangers(scene, own, STRANGERS, chance)),
        *(Named("text undecided", each) for each in undecided(scene)),
    ]
    # What a named clip shows it also says, so that the same may be asked of both.
    ways = (
        lookup_examples.over_video,
        lookup_examples.over_paths,
        lookup_examples.over_sound,
        lookup_examples.over_both,
    )
    short = list(dict.fromkeys(each for over in ways for each in over(scene)))
    tasks = [
        *(Named("text lookup", each) for each in chance.sample(short, min(LOOK_UPS, len(short)))),
        *chance.sample(asked, min(ASKED - len(other), len(asked))),
        *other,
    ]
    text = scene_in_words(scene)
    return [Named(name, Exchange(f"{text}\n\n{asked}", answer)) for name, (asked, answer) in tasks]


def looked_up(scene: Scene) -> list[Named]:
    """All look-ups of one step of a written scene."""
    text = scene_in_words(scene)
    short = dict.fromkeys((*lookup_examples.over_video(scene), *lookup_examples.over_sound(scene)))
    return [Named("text lookup", Exchange(f"{text}\n\n{asked}", answer)) for asked, answer in short]


def scene_in_words(scene: Scene) -> str:
    """What is seen and what is heard in each part, which stands before it: who reads it need not count."""
    shown = ", ".join(
        f"{part} {seen(sight, motion_examples.way(scene, part))}" for part, sight in motion_examples.seen(scene)
    )
    told = ", ".join(
        f"{part} {said(sound) if sound else lookup_examples.NOTHING}" for part, sound in lookup_examples.heard(scene)
    )
    return f"seen: {shown}. heard: {told}."


def alone(scene: Scene, own: list[Posed], chance: Random) -> list[Named]:
    """Tasks of a scene that nobody tells of."""
    clip, text = ([posed for posed in own if (posed.needs == "text") is free] for free in (False, True))
    some = [*chance.sample(clip, min(ALONE, len(clip))), *chance.sample(text, min(1, len(text)))]
    return [
        *(Named("alone verify", checked(scene, posed, "text")) for posed in some),
        *(Named("alone agree", each) for each in agreeing(scene, own, COMPARED, chance)),
        *(Named("alone screen", each) for each in screened(split_of(scene.seed), chance)),
    ]
