"""Scenes in text: their tasks agree with the scene, half of the judged answers are wrong, the shard set loads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from ola.processor import OlaProcessor
from pipeline.synthetic.nano.answers import answer_with_steps
from pipeline.synthetic.nano.judge_examples import (
    agreement_examples,
    make_incomplete,
    make_uninformative,
    replace_word,
    screening_examples,
)
from pipeline.synthetic.nano.text_scenes import (
    choose_scene,
    describe_scene,
    tasks_without_scene,
    text_tasks,
    write_text_scenes,
)
from pipeline.synthetic.world.captions import describe_sight, describe_sound
from pipeline.synthetic.world.questions import make_questions
from pipeline.synthetic.world.scenes import compose_scene
from pipeline.synthetic.world.vocabulary import SPLITS, split_of_seed
from stages.catalogue import read_catalogue
from stages.decoding import Decoder, LoadedPack
from stages.samples import Sample
from stages.shards import ShardReader
from tests.ola import tiny

SCENES = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    root = tmp_path_factory.mktemp("texts")
    return root, write_text_scenes(str(root), "texts", SCENES, 0)


def samples(root: Path) -> list[Sample]:
    [tar] = (root / "shards/image/texts").glob("*.tar")
    return [Sample.model_validate_json(bytes(raw.members["json"])) for raw in ShardReader(tar)]


def test_a_shard_set_is_written_and_loaded(made: tuple[Path, Counter[str]]) -> None:
    root, counts = made
    found = read_catalogue([str(root)])
    assert len(found) == counts["in all"] == counts.total() / 2
    assert set(found.counts()) == {"chat"}
    loaded = Decoder(OlaProcessor(tiny.tokenizer(), tiny.config()), 0)[found.locate(range(5))]
    assert isinstance(loaded, LoadedPack)
    assert (len(loaded.pack.prompts), loaded.faults) == (5, ())


def test_the_same_seed_gives_the_same_bytes_and_takes_the_place_of_the_set(
    made: tuple[Path, Counter[str]], tmp_path: Path
) -> None:
    write_text_scenes(str(tmp_path), "texts", SCENES + 1, 1)
    assert write_text_scenes(str(tmp_path), "texts", SCENES, 0) == made[1]
    one, other = (root / "shards/image/texts/train-000000.tar" for root in (made[0], tmp_path))
    assert one.read_bytes() == other.read_bytes()


def test_tasks_of_a_scene_begin_alike_and_half_are_look_ups(made: tuple[Path, Counter[str]]) -> None:
    told = [sample for sample in samples(made[0]) if sample.clip.endswith("told")]
    assert len(told) == SCENES
    for sample in told:
        asked = [task.conversations[0].value for task in sample.tasks]
        assert len({text.partition("\n\n")[0] for text in asked}) == 1
        assert len(set(asked)) == len(asked)
    assert 0.4 < made[1]["text lookup"] / sum(count for name, count in made[1].items() if "text " in name) < 0.6


def test_the_description_agrees_with_the_scene() -> None:
    for scene in (compose_scene(0, number) for number in range(40)):
        if scene.kind == "mute":
            continue
        shown, heard = describe_scene(scene).removeprefix("seen: ").removesuffix(".").split(". heard: ")
        found = [dict(part.split(" ", 1) for part in line.split(", ")) for line in (shown, heard)]
        assert [list(parts) for parts in found] == [["first", "second"]] * 2
        shapes = list(dict.fromkeys(re.sub(r" \d{3}", "", text) for text in found[0].values()))
        assert shapes == [describe_sight(sight) for sight in scene.sights]
        texts = [text for text in found[1].values() if text != "nothing"]
        assert (
            texts == [describe_sound(sound) for sound in scene.sounds for _ in scene.sights_during(sound)]
            or len(scene.sights) == 1
        )
        assert list(dict.fromkeys(texts)) == [describe_sound(sound) for sound in scene.sounds]
        own = {qa.question: qa for qa in make_questions(scene)}
        for name, (asked, answer) in text_tasks(scene, list(own.values()), Random(0)):
            qa = own.get(asked.rpartition("\n")[2])
            if qa is not None:
                assert answer == (answer_with_steps(scene, qa, qa.answer) if name == "text verify" else qa.answer)
            else:
                assert name in ("text lookup", "text strange", "text undecided")
                assert name != "text undecided" or answer.endswith(" first and second: unknown")


def test_without_a_clip_only_text_questions_are_answered() -> None:
    scene = compose_scene(0, 2)
    own = {qa.question: qa for qa in make_questions(scene)}
    tasks = [
        task.exchange
        for task in tasks_without_scene(scene, list(own.values()), Random(0))
        if task.name == "alone verify"
    ]
    assert len(tasks) == 3
    for asked, answer in tasks:
        qa = own[asked.rpartition("\n")[2]]
        assert answer == (qa.answer if qa.needs == "text" else "unknown")


def test_half_of_the_given_answers_are_right() -> None:
    wrong: Counter[str] = Counter()
    for number in range(60):
        scene = compose_scene(0, number)
        own = make_questions(scene)
        for asked, verdict in agreement_examples(scene, own, 4, Random(number)):
            question, right, given = re.findall(r"\[begin [^\]]*\]\n(.*)\n\[end", asked)
            assert right in {qa.answer for qa in own if qa.question == question}
            value = given.rpartition(": ")[2]
            assert verdict == ("yes" if value == right else "no")
            wrong[verdict if value != "unknown" else "unknown"] += 1
    assert wrong["yes"] == wrong["no"] + wrong["unknown"] == 120
    assert wrong["unknown"] > 20


def test_a_replaced_word_is_of_the_same_family() -> None:
    for n in range(20):
        colour, shape = replace_word("a red circle", Random(n)).split()[1:]
        assert (colour == "red") != (shape == "circle")
        assert replace_word("moves left", Random(n)) not in ("moves left", "circle")
        assert replace_word("a voice", Random(n)).startswith("a ")
    with pytest.raises(ValueError, match="kitten"):
        replace_word("kitten", Random(0))


def test_scenes_have_held_out_pairs_but_no_seed_of_the_evaluation() -> None:
    scenes = [choose_scene(Random(n)) for n in range(200)]
    pairs = {(figure.colour, figure.shape) for scene in scenes for sight in scene.sights for figure in sight.figures}
    of = {split.name: set(split.figures) for split in SPLITS}
    assert pairs & of["train"]
    assert pairs & of["test-pairs"]
    assert {scene.seed for scene in scenes}.isdisjoint(split.seeds[0] for split in SPLITS[1:])


def test_judged_transcripts_have_phrases_of_the_split() -> None:
    held_out = {" ".join(pair) for pair in SPLITS[4].phrases}
    for n in range(50):
        made = screening_examples(split_of_seed(0), Random(n))
        assert [verdict for _, verdict in made] == ["yes", "yes", "no", "no"]
        for asked, verdict in made:
            [text] = re.findall(r"\[begin [^\]]*\]\n(.*)\n\[end", asked)
            words = text.split()
            pairs = [" ".join(words[n : n + 2]) for n in range(0, len(words), 2)]
            if verdict == "yes":
                assert len(words) in (2, 4)
                assert held_out.isdisjoint(pairs)
    for n in range(50):
        said = ["two", "dogs", "six", "cars"]
        spoilt = make_incomplete(said, Random(n))
        assert len(spoilt) in (1, 3, 5)
        assert len(set(make_uninformative(said, Random(n))) - {"and", "the", "a"}) <= 1
