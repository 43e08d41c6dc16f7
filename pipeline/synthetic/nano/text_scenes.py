"""Write training conversations about scenes described in text.

Each scene has two samples: one with tasks whose prompts describe the scene, and one without a description: questions
without their clip, answers to compare, transcripts to judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from pipeline.synthetic.nano import lookup_examples, motion_examples
from pipeline.synthetic.nano.answers import (
    SCENES_PER_SEED,
    Exchange,
    ambiguous_exchanges,
    foreign_questions,
    packed_exchange,
    unknown_exchange,
    verify_exchange,
)
from pipeline.synthetic.nano.judge_examples import agreement_examples, screening_examples
from pipeline.synthetic.nano.text_shards import make_sample, write_shard_set
from pipeline.synthetic.world.captions import describe_sight, describe_sound
from pipeline.synthetic.world.questions import QAPair, make_questions
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.vocabulary import SPLITS, find_split, split_of_seed
from stages.samples import Sample

LOOKUPS = QUESTIONS = 20  # tasks of a described scene, at most
FOREIGN_QUESTIONS = 4
# Seeds of scenes. Half of the scenes have held-out pairs, else the decoder learns which pairs exist and ignores the
# picture. The first seed of a split is left out: the model is evaluated on its films.
SEED_RANGES = (SPLITS[0].seeds, find_split("test-pairs").seeds[1:])
UNSEEN_QUESTIONS, AGREEMENTS = 2, 10  # questions without their clip, and answers to compare, for each scene


class TextTask(NamedTuple):
    """A prompt and its answer, with the kind of task for counts."""

    name: str
    exchange: Exchange


def write_text_scenes(root: str, name: str, scenes: int, seed: int, primer: bool = False) -> Counter[str]:
    """Write `scenes` scenes of `SEED_RANGES` as the shard set `name` of a root; returns numbers of tasks by name.

    primer: write only look-ups of one step, which are learned first. The same seed gives the same set. Raises OSError.
    """
    counts = Counter[str]()
    counts["in all"] = write_shard_set(root, name, _samples(scenes, seed, primer, counts))
    return counts


def _samples(scenes: int, seed: int, primer: bool, counts: Counter[str]) -> Iterator[Sample]:
    for number in range(scenes):
        rng = Random(f"written {seed} {number}")
        scene = choose_scene(rng)
        own = make_questions(scene)
        described = primer_tasks(scene) if primer else text_tasks(scene, own, rng)
        for kind, tasks in (
            ("told", described),
            *(() if primer else [("alone", tasks_without_scene(scene, own, rng))]),
        ):
            counts.update(task.name for task in tasks)
            facts = {"seed": scene.seed, "number": scene.number, "kind": scene.kind}
            yield make_sample(f"written-{seed}-{number:06d}-{kind}", [task.exchange for task in tasks], facts)


def choose_scene(rng: Random) -> Scene:
    """Choose a random scene with a sound track."""
    while True:
        scene = compose_scene(rng.choice(rng.choice(SEED_RANGES)), rng.randrange(SCENES_PER_SEED))
        if scene.kind != "mute":
            return scene


def text_tasks(scene: Scene, own: list[QAPair], rng: Random) -> list[TextTask]:
    """Make tasks whose prompts describe the scene in text; half of them are look-ups."""
    question_tasks = [
        *(TextTask("text verify", verify_exchange(scene, qa, "both")) for qa in own),
        *(TextTask("text bare", packed_exchange(qa)) for qa in own),
    ]
    unanswerable = [
        *(
            TextTask("text strange", unknown_exchange(qa))
            for qa in foreign_questions(scene, own, FOREIGN_QUESTIONS, rng)
        ),
        *(TextTask("text undecided", each) for each in ambiguous_exchanges(scene)),
    ]
    # In a named clip picture and sound have the same words, so look-ups of both can be equal.
    sources = (
        lookup_examples.video_lookups,
        lookup_examples.path_lookups,
        lookup_examples.sound_lookups,
        lookup_examples.cross_modal_lookups,
    )
    lookups = list(dict.fromkeys(each for over in sources for each in over(scene)))
    tasks = [
        *(TextTask("text lookup", each) for each in rng.sample(lookups, min(LOOKUPS, len(lookups)))),
        *rng.sample(question_tasks, min(QUESTIONS - len(unanswerable), len(question_tasks))),
        *unanswerable,
    ]
    text = describe_scene(scene)
    return [TextTask(name, Exchange(f"{text}\n\n{prompt}", answer)) for name, (prompt, answer) in tasks]


def primer_tasks(scene: Scene) -> list[TextTask]:
    """Make all look-ups of one step whose prompts describe the scene in text."""
    text = describe_scene(scene)
    lookups = dict.fromkeys((*lookup_examples.video_lookups(scene), *lookup_examples.sound_lookups(scene)))
    return [TextTask("text lookup", Exchange(f"{text}\n\n{prompt}", answer)) for prompt, answer in lookups]


def describe_scene(scene: Scene) -> str:
    """Describe in text what is seen and heard in each part. Each description starts with its part."""
    sights = ", ".join(
        f"{part} {describe_sight(sight, motion_examples.part_path(scene, part))}"
        for part, sight in motion_examples.sights_by_part(scene)
    )
    heard = ", ".join(
        f"{part} {describe_sound(sound) if sound else lookup_examples.NOTHING}"
        for part, sound in lookup_examples.sounds_by_part(scene)
    )
    return f"seen: {sights}. heard: {heard}."


def tasks_without_scene(scene: Scene, own: list[QAPair], rng: Random) -> list[TextTask]:
    """Make tasks whose prompts do not describe the scene."""
    clip, text = ([qa for qa in own if (qa.needs == "text") is free] for free in (False, True))
    pairs = [*rng.sample(clip, min(UNSEEN_QUESTIONS, len(clip))), *rng.sample(text, min(1, len(text)))]
    return [
        *(TextTask("alone verify", verify_exchange(scene, qa, "text")) for qa in pairs),
        *(TextTask("alone agree", each) for each in agreement_examples(scene, own, AGREEMENTS, rng)),
        *(TextTask("alone screen", each) for each in screening_examples(split_of_seed(scene.seed), rng)),
    ]
