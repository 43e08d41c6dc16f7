"""Scores of runs with synthetic manifests: a perfect run has perfect scores, and every planted error is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Caption, Clip, ModelCall, Outcome, Question, Screening, Verification, Video, ViewAnswer
from pipeline.config import RUN, Config, dump
from pipeline.engine.engines import InlineEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.media.media_store import MediaTar
from pipeline.pack.publish import pack
from pipeline.plan import Plan
from pipeline.synthetic.world.audio import render_sound
from pipeline.synthetic.world.captions import captions_by_view
from pipeline.synthetic.world.metrics import ScoredQuestion, yield_by_speech
from pipeline.synthetic.world.questions import QAPair, make_questions
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.score import RunScore
from pipeline.synthetic.world.truth import TRUTH_SUFFIX, build_truth, dump_truth
from tests.pipeline import test_pack
from tests.pipeline.scripted import ENGINE
from tests.pipeline.test_pack import ok
from tests.runs import ola

SEED, CLIPS, MS = 7, 10, 4000
ASKED = ModelCall(prompt="p", answer="a", finish="stop", prompt_tokens=1, answer_tokens=1, latency=0.0)
AGREES = {"both": ("both",), "video": ("both", "video"), "audio": ("both", "audio"), "none-agrees": ()}
VIEWS = ("both", "video", "audio", "text")
Change = Callable[[Scene, QAPair], str]


@dataclass(frozen=True)
class PlantedErrors:
    """The errors of a run. said, ends_ms: transcripts and ends by number of the clip; the others change true values."""

    said: Mapping[int, str] = field(default_factory=dict)
    question: Change = lambda scene, qa: qa.question
    answer: Change = lambda scene, qa: qa.answer
    needs: Change = lambda scene, qa: qa.needs
    caption: Callable[[str, str], str] = lambda view, text: text
    ends_ms: Mapping[int, int] = field(default_factory=dict)


@cache
def scene_and_truth(number: int) -> tuple[Scene, dict[str, Any]]:
    scene = compose_scene(SEED, number)
    return scene, build_truth(scene, render_sound(scene)[1])


def choose_questions(scene: Scene) -> list[QAPair]:
    """Return up to two questions of a clip for each needs."""
    found = make_questions(scene)
    return [qa for needs in VIEWS for qa in [each for each in found if each.needs == needs][:2]]


def write_run(folder: Path, errors: PlantedErrors = PlantedErrors(), truths: Sequence[int] = range(CLIPS)) -> str:
    """Write a run over clips of the world with synthetic manifests; returns its root."""
    for number in truths:
        scene, truth = scene_and_truth(number)
        (folder / f"{scene.name}{TRUTH_SUFFIX}").write_text(dump_truth(truth), encoding="utf-8")
    config = Config.model_validate({"annotator": {"engine": ENGINE}, "pack": {"val": 0.0}})
    root = folder / "out"
    plan = config.plan(str(root))
    root.mkdir()
    (root / RUN).write_text(dump(config), encoding="utf-8")
    commit(plan, folder, errors)
    pack(plan, config.pack, lambda make, numbers: InlineEngine().map([LanePlan(make)], numbers))
    return str(root)


def commit(plan: Plan, folder: Path, errors: PlantedErrors) -> None:
    """Commit a part with the outcomes of all steps for all clips."""
    manifests = {step.step.name: step.manifest for step in plan.steps}
    path = manifests["extract"].path(0, "tar")
    (Path(plan.root) / path).parent.mkdir(parents=True)
    tar = MediaTar(path, str(Path(plan.root, path)))
    steps: dict[str, list[Outcome]] = {name: [] for name in manifests}
    for number in range(CLIPS):
        for name, outcomes in step_outcomes(folder, number, tar, errors):
            steps[name] += outcomes
    tar.close()
    for name, outcomes in steps.items():
        manifests[name].commit(0, [outcome.input for outcome in outcomes], outcomes)


def step_outcomes(
    folder: Path, number: int, tar: MediaTar, errors: PlantedErrors
) -> Iterator[tuple[str, list[Outcome]]]:
    """Yield the outcomes of each step for a clip: the truth with the planted errors."""
    scene, truth = scene_and_truth(number)
    video: Video = replace(test_pack.video(number), uri=str(folder / f"{scene.name}.mp4"))
    end = errors.ends_ms.get(number, MS)
    name = f"{video.id}-{0:09d}-{end:09d}"
    clip: Clip = replace(test_pack.clip(number, 0), id=name, end_ms=end)
    footage = replace(test_pack.footage(clip, tar, silent=scene.kind == "mute"), frame_ms=(500, 2500, 3500))
    said = errors.said.get(number, truth["transcript"])
    yield "ingest", [ok(video.source, video)]
    yield "split", [ok(video.id, clip)]
    yield "extract", [ok(name, footage)]
    if not said:
        yield "transcribe", [Outcome(name, "dropped", 0.0, (), "nothing said")]
    else:
        yield "transcribe", [ok(name, test_pack.transcript(clip, said))]
        screening = Screening(id=name, clip=name, footage=name, transcript=name, complete=1.0, informative=1.0)
        yield "screen", [ok(name, screening)]
        asked = [question(name, n, scene, qa, errors) for n, qa in enumerate(choose_questions(scene))]
        yield "ask", [ok(name, *asked)]
        verdicts = zip(asked, choose_questions(scene), strict=True)
        yield "verify", [ok(q.id, verdict(q, errors.needs(scene, qa))) for q, qa in verdicts]
    captioned = [
        Caption(id=f"{name}-{view}", clip=name, footage=name, view=view, text=errors.caption(view, text), asked=ASKED)
        for view, text in captions_by_view(scene, 2.5).items()
    ]
    yield "caption", [ok(name, *captioned)]


def question(name: str, number: int, scene: Scene, qa: QAPair, errors: PlantedErrors) -> Question:
    return Question(
        id=f"{name}-q{number}",
        clip=name,
        footage=name,
        transcript=name,
        number=number,
        kind=qa.kind,
        question=errors.question(scene, qa),
        answer=errors.answer(scene, qa),
        options=(),
        asked=ASKED,
    )


def verdict(asked: Question, needs: str) -> Verification:
    agrees = AGREES.get(needs, VIEWS)
    attempts: dict[str, Any] = {
        view: ViewAnswer(answer="x", agreement=float(view in agrees), exact=view in agrees, f1=0.0) for view in VIEWS
    }
    return Verification(id=asked.id, clip=asked.clip, question=asked.id, **attempts)


def true_needs() -> list[str]:
    """Return the needs of all questions of a run without errors. Clips without speech have no questions."""
    scenes = [scene_and_truth(number) for number in range(CLIPS)]
    return [qa.needs for scene, truth in scenes if truth["transcript"] for qa in choose_questions(scene)]


def test_a_perfect_run_scores_perfectly(tmp_path: Path) -> None:
    facts = RunScore(write_run(tmp_path)).report()
    needs = true_needs()
    assert facts["clips"] == {"scored": CLIPS, "without_truth": 0, "not_whole": 0}
    assert facts["transcripts"] == {"clips": 9, "voiced": 8, "word_error": 0.0, "missing": 0, "invented": 0}
    assert facts["captions"]["image"] == {"captions": 10, "right": 1.0, "exact": 1.0}
    assert facts["captions"]["joint"] == {"captions": 9, "right": 1.0, "exact": 1.0}
    assert facts["questions"] == {
        "clips": 8,
        "asked": len(needs),
        "well_formed": 1.0,
        "of_their_clip": 1.0,
        "answer_right": 1.0,
    }
    assert min(needs.count(each) for each in VIEWS) >= 8
    for truth, counts in facts["needs"].items():
        assert {name: count for name, count in counts.items() if count} == (
            {truth: needs.count(truth)} if truth in VIEWS else {}
        )
    both, audio = needs.count("both"), needs.count("audio")
    assert facts["cross_modal"] == {
        "packed": both + audio,
        "precision": 1.0,
        "recall": 1.0,
        "packed_as_both": both,
        "both_precision": 1.0,
        "both_recall": 1.0,
        "shortcuts": 0,
        "wrong": 0,
    }
    assert facts["faults"] == []


def test_planted_wrong_answers_are_found(tmp_path: Path) -> None:
    errors = PlantedErrors(answer=lambda scene, qa: "seven eggs" if scene.number == 2 else qa.answer)
    facts = RunScore(write_run(tmp_path, errors)).report()
    wrong = choose_questions(compose_scene(SEED, 2))
    assert len(wrong) == 8
    assert facts["questions"]["answer_right"] == pytest.approx(1 - 8 / len(true_needs()), abs=1e-4)
    assert sum(facts["needs"]["wrong"].values()) == 8
    assert facts["cross_modal"]["wrong"] == 4  # those with measured needs both or audio
    faults = {fault["said"]: fault["fault"] for fault in facts["faults"]}
    assert faults == {
        f"{each.question} seven eggs": f"wrong answer: it is {each.answer}"
        + (" (in the shards)" if each.needs in ("both", "audio") else "")
        for each in wrong
    }


def test_planted_shortcuts_are_found(tmp_path: Path) -> None:
    """Clip 1 has a single sight: questions about it need no sound, but verify says `both`."""
    errors = PlantedErrors(needs=lambda scene, qa: "both" if scene.number == 1 else qa.needs)
    facts = RunScore(write_run(tmp_path, errors)).report()
    kept = choose_questions(compose_scene(SEED, 1))
    assert {qa.needs for qa in kept} == {"video", "audio", "text"}
    assert facts["cross_modal"]["shortcuts"] == len(kept)
    assert facts["cross_modal"]["both_precision"] < 1.0 == facts["cross_modal"]["both_recall"]
    assert facts["needs"]["video"]["both"] == 2
    assert {(f["film"], f["fault"]) for f in facts["faults"]} == {
        ("world-0007-00001.mp4", f"a shortcut in the shards: {needs} suffices") for needs in ("video", "audio", "text")
    }
    assert facts["questions"]["answer_right"] == 1.0


def test_lost_questions_lower_the_recall(tmp_path: Path) -> None:
    errors = PlantedErrors(needs=lambda scene, qa: "none-agrees" if scene.number == 0 else qa.needs)
    cross = RunScore(write_run(tmp_path, errors)).report()["cross_modal"]
    both = true_needs().count("both")
    assert (cross["precision"], cross["both_precision"]) == (1.0, 1.0)
    assert cross["both_recall"] == pytest.approx(1 - 2 / both, abs=1e-4)


def test_a_swapped_sound_track_is_found(tmp_path: Path) -> None:
    said = {number: scene_and_truth(other)[1]["transcript"] for number, other in ((2, 4), (4, 2))}
    facts = RunScore(write_run(tmp_path, PlantedErrors(said=said))).report()
    assert facts["transcripts"]["word_error"] == pytest.approx(4 / 26, abs=1e-4)  # two words of four differ in each
    assert [(f["film"], f["fault"]) for f in facts["faults"]] == [
        ("world-0007-00002.mp4", "says what world-0007-00004.mp4 says"),
        ("world-0007-00004.mp4", "says what world-0007-00002.mp4 says"),
    ]


def test_invented_and_missing_transcripts_are_counted(tmp_path: Path) -> None:
    silent, spoken = 3, 0
    facts = RunScore(write_run(tmp_path, PlantedErrors(said={silent: "thank you for watching", spoken: ""}))).report()
    assert (facts["transcripts"]["invented"], facts["transcripts"]["missing"]) == (1, 1)


def test_wrong_captions_and_questions_are_counted(tmp_path: Path) -> None:
    errors = PlantedErrors(
        caption=lambda view, text: text.replace("black", "green") if view == "video" else text,
        question=lambda scene, qa: "Why is the cook happy?" if qa.form == "corners" else qa.question,
    )
    facts = RunScore(write_run(tmp_path, errors)).report()
    assert facts["captions"]["sound"]["exact"] == 1.0
    assert facts["captions"]["video"]["exact"] < facts["captions"]["video"]["right"] < 1.0
    cooks = sum(f["fault"] == "not well-formed" for f in facts["faults"])
    assert cooks > 2
    assert facts["questions"]["well_formed"] == pytest.approx(1 - cooks / len(true_needs()), abs=1e-4)


def test_clips_that_cannot_be_scored_are_counted(tmp_path: Path) -> None:
    root = write_run(tmp_path, PlantedErrors(ends_ms={5: 2000}), truths=[n for n in range(CLIPS) if n != 6])
    assert RunScore(root).report()["clips"] == {"scored": 8, "without_truth": 1, "not_whole": 1}


def test_the_command_prints_text_and_json(tmp_path: Path) -> None:
    root = write_run(tmp_path, PlantedErrors(answer=lambda scene, qa: "seven eggs"))
    said = ola("world", "score", root, "--faults", "2")
    assert said.code == 0, said
    assert "word error 0.0%" in said.out
    assert "truly wrong" in said.out
    assert said.out.count("wrong answer: it is") == 2
    assert "more: --json has all" in said.out
    facts = json.loads(ola("world", "score", root, "--json").out)
    assert facts == json.loads(json.dumps(RunScore(root).report()))
    assert facts["questions"]["answer_right"] == 0.0


def test_a_run_without_truth_files_is_an_error_of_one_line(tmp_path: Path) -> None:
    root = write_run(tmp_path, truths=())
    said = ola("world", "score", root)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"ola: {root}: no film of this run has a truth file; make films with one: ola world make\n"
    said = ola("world", "score", tmp_path / "nowhere")
    assert (said.code, said.err.count("\n")) == (2, 1)


def test_questions_are_counted_for_clips_with_and_without_words() -> None:
    asked = [
        ("a", "right", "both"),
        ("a", "wrong answer: it is x", "audio"),
        ("b", "right", "both"),
        ("b", "right", "text"),
    ]
    found = [ScoredQuestion(film, "q", "a", verdict, "both", needs, False) for film, verdict, needs in asked]
    assert yield_by_speech({"a": True, "b": False, "c": False}, found, ("both", "audio")) == {
        "words": {"clips": 1, "verified": 2, "per_clip": 2.0, "right": 0.5},
        "no_words": {"clips": 2, "verified": 1, "per_clip": 0.5, "right": 1.0},
    }
