"""Planted shortcuts, invented facts, spans, faults and copies are counted, and witnesses let no shortcut through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.world import measure_lines
from pipeline.synthetic.world.fact_metrics import (
    HEARD,
    SEEN,
    count_invented,
    invented_words,
    iou,
    measure_spans,
    true_span,
)
from pipeline.synthetic.world.fault_metrics import FilmOrigin, auc, copy_metrics, film_origin, separations
from pipeline.synthetic.world.planted_questions import (
    PlantedQuestion,
    answer_kinds,
    are_telling,
    count_plants,
    is_planted,
    without_plant,
)
from pipeline.synthetic.world.plants import compose_film, unplanted
from pipeline.synthetic.world.questions import ambiguous_questions, answerable_questions, make_questions
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.truth import Truth
from tests.bench.witnesses import ENGINE, SETTINGS
from tests.pipeline.world.oracle import choose_option
from tests.pipeline.world.scripted_writer import write_questions
from tests.runs import ola

SEED = 11


def scenes(plant: str) -> list[Scene]:
    return [compose_film(SEED, number, plant=plant) for number in range(20)]


def truth(scene: Scene) -> Truth:
    return Truth(scene, "", (), (), tuple((each.start, each.end) for each in scene.sounds))


@pytest.mark.parametrize(
    ("plant", "least"), [("sound-labels", 1.0), ("title", 1.0), ("subtitles", 0.4), ("music", 0.0)]
)
def test_questions_about_both_senses_are_planted_by_what_gives_them_away(plant: str, least: float) -> None:
    pairs = [(scene, pair) for scene in scenes(plant) for pair in answerable_questions(without_plant(scene))]
    planted = [(scene, pair) for scene, pair in pairs if is_planted(scene, pair.question, pair.answer)]
    assert {pair.needs for _, pair in planted} <= {"both"}
    assert len(planted) >= least * sum(pair.needs == "both" for _, pair in pairs)
    assert (not planted) == (least == 0)


def test_wrong_questions_are_planted_by_two_sources_and_by_swapped_sound() -> None:
    for scene in scenes("two-sources"):
        assert all(is_planted(scene, question, "a red circle") for question in ambiguous_questions(scene))
        assert not any(is_planted(scene, pair.question, pair.answer) for pair in answerable_questions(scene))
    for scene in scenes("swapped"):
        answers = {pair.question: pair.answer for pair in answerable_questions(scene)}
        for pair in make_questions(unplanted(scene)):
            assert is_planted(scene, pair.question, pair.answer) == (answers.get(pair.question) != pair.answer)
        assert not any(is_planted(scene, pair.question, pair.answer) for pair in make_questions(scene))


def test_options_are_telling_if_only_the_right_one_can_be_an_answer() -> None:
    assert answer_kinds("A red circle and a blue star.") == {"figures"}
    assert answer_kinds("because of the weather") == set()
    assert are_telling("red", ("red", "because of the weather", "on the roof", "a third"))
    assert not are_telling("red", ("red", "blue", "on the roof", "a third"))
    assert not are_telling("red", ())


def test_the_oracle_guesses_among_fair_options_only() -> None:
    fair, telling = ["A) blue", "B) red", "C) white", "D) black"], ["A) at home", "B) red", "C) by sea", "D) in vain"]
    assert [choose_option("red", fair), choose_option("unknown", fair)] == ["B", "A"]
    assert choose_option("unknown", telling) == "B"
    prompt = "Write 2 questions about the clip\n\nGive four options"
    lines = write_questions(compose_scene(SEED, 0), prompt).splitlines()
    assert len(lines) == 12
    for first, telling_ones in ((0, True), (6, False)):
        options = [line[3:] for line in lines[first + 1 : first + 5]]
        assert are_telling(options["ABCD".index(lines[first + 5][-1])], options) == telling_ones


def test_what_was_let_through_is_counted_with_its_interval() -> None:
    found = [PlantedQuestion("title", True, False, packed, "w title" * (not packed)) for packed in (True, *[False] * 9)]
    found += [PlantedQuestion("title", False, True, True), PlantedQuestion("title", False, False, False)]
    [row] = count_plants({"a": "title", "b": "title", "c": ""}, found).values()
    assert row == {
        "clips": 2,
        "questions": 10,
        "let_through": {"count": 1, "share": 0.1, "low": 0.0179, "high": 0.4042},
        "vetoes": {"w title": 9},
        "need_both": 1,
        "kept": 1,
    }
    assert count_plants({"a": "music"}, [])["music"]["let_through"]["share"] is None


def test_facts_that_no_sense_supports_are_invented() -> None:
    scene = compose_scene(7, 0)  # a black cross shrinks, then a red diamond grows; a chirp, and "eight keys"
    said = "A black cross shrinks while a siren is heard, then a voice says eight dogs."
    assert invented_words("joint", said, truth(scene), 2.5) == ["siren", "dogs"]
    assert invented_words("video", said, truth(scene), 2.5) == ["siren", "voice", "eight", "dogs"]
    assert invented_words("sound", "A chirp is heard.", truth(scene), 2.5) == []
    [shown] = [each for each in scenes("subtitles") if each.number == 0]
    assert invented_words("image", shown.texts[0].text, truth(shown), 2.5) == []
    assert count_invented([("joint", ["siren", "dogs"]), ("joint", []), ("sound", [])]) == {
        "joint": {"captions": 2, "invented": 2, "per_caption": 1.0, "clean": 0.5},
        "sound": {"captions": 1, "invented": 0, "per_caption": 0.0, "clean": 1.0},
    }


def test_spans_are_compared_with_when_the_thing_is_seen_or_heard() -> None:
    scene = compose_scene(7, 0)
    pair = next(qa for qa in make_questions(scene) if qa.form == "seen while" and qa.part == "second")
    seen, heard = true_span(truth(scene), pair, SEEN), true_span(truth(scene), pair, HEARD)
    assert seen == (scene.sights[1].start, scene.sights[1].end)
    assert heard == (scene.sounds[1].start, scene.sounds[1].end)
    assert true_span(truth(scene), replace(pair, part="always"), SEEN) is None
    assert [iou((0, 2), (0, 2)), iou((0, 2), (1, 3)), iou((0, 1), (2, 3))] == [1.0, pytest.approx(1 / 3), 0.0]
    assert measure_spans([(SEEN, (0, 2), (0, 2)), (SEEN, (0, 2), (1, 3))]) == {
        "seen": {"spans": 2, "iou": 0.6667, "good": 0.5}
    }


def test_a_score_is_compared_with_films_of_the_same_kind_without_a_fault() -> None:
    assert [auc([1, 2], [3, 4]), auc([1, 2], [3, 4], low=True), auc([1], [1]), auc([None], [1])] == [
        1.0,
        0.0,
        0.5,
        None,
    ]
    clips: list[tuple[str, str, dict[str, float | None]]] = [
        ("cuts", "cuts", {"sharpness": 0.9, "bars": 0.0}),
        ("blurred", "cuts", {"sharpness": 0.1, "bars": 0.0}),
        ("shifted", "cuts", {"sharpness": 0.9, "bars": 0.0}),
        ("", "linked", {"sharpness": 0.0, "bars": 0.9}),
    ]
    found = separations(clips)
    assert found["blurred"] == {
        "clips": 1,
        "beside": 1,
        "auc": {"sharpness": 1.0},
        "all": {"sharpness": 0.0, "bars": 0.5},
    }
    assert found["shifted"]["auc"] == {}
    assert set(found) == {"blurred", "shifted"}


def test_copies_and_leaks_are_counted_and_false_pairs() -> None:
    plants = {0: "copy-resize", 1: "copy-trim", 2: "leaked", 3: "foreign-sound", 4: "cuts"}
    films = {each.name: film_origin(each) for each in (compose_film(SEED, n, plant=name) for n, name in plants.items())}
    films |= {f"world-0011-{n:05d}-cuts": film_origin(compose_film(SEED, n, plant="cuts")) for n in (0, 1)}
    name = {plant: f"world-0011-{n:05d}-{plant}" for n, plant in plants.items()}
    pairs = [
        (name["copy-resize"], "world-0011-00000-cuts", "copy"),
        (name["copy-trim"], "world-0011-00001-cuts", "copy"),
        (name["foreign-sound"], name["cuts"], "same sound, other picture"),
        (name["copy-resize"], name["cuts"], "copy"),
    ]
    assert copy_metrics(films, pairs, [name["cuts"]]) == {
        "copies": {
            "copy-resize": {"copies": 1, "found": 1, "right_relation": 1},
            "copy-trim": {"copies": 1, "found": 1, "right_relation": 0},
        },
        "unlike_pairs": 21 - 3,
        "false_pairs": 1,
        "leaks": {"leaks": 1, "found": 0, "false": 1},
    }
    assert FilmOrigin("", "a", "").is_unlike(FilmOrigin("", "b", "")), "two films without sound share none"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the scores of a run over planted films without and with a witness, and the text of the latter."""
    folder = tmp_path_factory.mktemp("floors")
    plants = "title,sound-labels,scene-text,two-sources"
    assert ola("world", "make", folder / "films", "--clips", "8", "--seed", "2021", "--plant", plants).code == 0
    witness = (f"verify.witnesses=[{ENGINE}:seeing]", "verify.more_views=[title, swap]")
    found = {}
    for name, more in (("alone", ()), ("witness", witness), ("others", (*witness, "pack.judges=others"))):
        sets = (f"annotator.model={folder / 'films'}", *SETTINGS, *more)
        said = ola("run", folder / "films", "--root", folder / "root", *(part for s in sets for part in ("--set", s)))
        assert said.code == 0, said
        found[name] = json.loads(ola("world", "score", folder / "root", "--json").out)
    return found


def test_a_witness_stops_planted_shortcuts_that_a_blind_annotator_lets_through(reports: dict[str, Any]) -> None:
    for plant in ("title", "sound-labels"):
        alone, witnessed = (reports[name]["planted"][plant] for name in ("alone", "witness"))
        assert alone["questions"] == witnessed["questions"] >= 4
        assert alone["let_through"]["share"] > 0.3
        assert witnessed["let_through"]["count"] == 0
        assert sum(witnessed["vetoes"].values()) == witnessed["questions"]
    assert set(reports["witness"]["planted"]["title"]["vetoes"]) == {f"{ENGINE}:seeing title"}
    sign = reports["witness"]["planted"]["scene-text"]
    assert sign["kept"] == sign["need_both"] > 0, "a sign gives nothing away"


def test_a_mistake_that_the_annotator_repeats_is_stopped_by_the_others(reports: dict[str, Any]) -> None:
    rows = {name: reports[name]["planted"]["two-sources"] for name in ("witness", "others")}
    assert rows["witness"]["let_through"]["share"] == 1.0
    assert rows["others"]["let_through"]["count"] == 0 < rows["others"]["questions"]
    precision = {name: report["cross_modal"]["both_precision"] for name, report in reports.items()}
    assert precision["alone"] < precision["witness"] < precision["others"] == 1.0
    assert reports["others"]["cross_modal"]["both_recall"] == 1.0


def test_the_text_of_a_report_has_a_line_for_each_plant(reports: dict[str, Any], tmp_path: Path) -> None:
    lines = {line[:22].strip(): line[22:].strip() for line in measure_lines(reports["witness"])}
    assert lines["planted title"].startswith("clips 2, questions ")
    assert "let through 0: 0.0% (0.0%-" in lines["planted title"]
    assert lines["fault title"] == "clips 2 beside 2, AUC: answer_in_meta 1.000"
