"""The nano of the package: its answers, the outputs of a run with it, and further training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ola.generation import Ola
from pipeline.synthetic import demo
from pipeline.synthetic.nano.evaluate import evaluate_model
from pipeline.synthetic.world.score import RunScore
from tests.pipeline.nano.conftest import Run
from tests.runs import ola, status

TASKS = ("caption_joint", "verify_both", "transcribe")


@pytest.fixture(scope="module")
def annotated(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the same films in which nano answers all prompts."""
    root = tmp_path_factory.mktemp("annotated") / "run"
    asked = ("annotator.model=nano", "transcribe.sources=[ola]", "screen.least_words=2", "pack.val=0", "isolate=false")
    sets = [part for setting in asked for part in ("--set", setting)]
    said = ola("run", run.root.parent / "films" / "*.mp4", "--root", root, *sets)
    assert said.code == 0, said
    return root


def test_nano_answers_about_ten_clips(run: Run) -> None:
    results = evaluate_model(str(run.root), Ola.from_pretrained("nano"), names=TASKS)
    assert results["caption_joint, attributes"]["right"] >= 0.85
    assert results["transcribe, words"]["right"] >= 0.9
    assert results["verify_both, needs text"]["right"] >= 0.9
    assert results["verify_both, needs video"]["right"] >= 0.85
    assert results["verify_both, needs both"]["right"] >= 0.85


def test_most_outputs_of_a_run_are_right(annotated: Path) -> None:
    """The bounds are well below the measured values, since sums may differ on another machine."""
    facts = RunScore(str(annotated)).report()
    assert facts["transcripts"]["word_error"] <= 0.1
    assert facts["captions"]["image"]["right"] >= 0.9
    assert facts["questions"]["well_formed"] >= 0.9
    assert facts["questions"]["answer_right"] >= 0.75
    assert facts["cross_modal"]["precision"] >= 0.8
    needs = {truth: counts for truth, counts in facts["needs"].items() if truth != "wrong"}
    agree = sum(counts[truth] for truth, counts in needs.items())
    assert agree >= 0.7 * sum(sum(counts.values()) for counts in needs.values()) > 0


def test_three_steps_lower_the_loss(annotated: Path, tmp_path: Path) -> None:
    sets = [part for setting in ("steps=3", "batch=64", "omni.replay={}") for part in ("--set", setting)]
    assert ola("train", "omni", "--shards", annotated, "--model", "nano", "--out", tmp_path, *sets).code == 0
    losses = pq.read_table(tmp_path / "omni" / "log").sort_by("step")["loss"].to_pylist()
    assert losses[2] < losses[0]


def test_the_demo_on_three_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(*arguments: str) -> None:
        said = ola(*arguments)
        assert said.code == 0, (arguments, said)
        outputs[arguments[:2] if arguments[0] == "world" else arguments[0]] = said.out

    outputs: dict[Any, str] = {}
    monkeypatch.setattr(demo, "run_ola", here)
    monkeypatch.setattr(demo, "CLIPS", 3)
    monkeypatch.setattr(demo, "HELD_OUT_CLIPS", 2)
    monkeypatch.setattr(demo, "STEPS", 1)
    demo.train_and_compare(tmp_path, demo.annotate(tmp_path))
    assert status(tmp_path / "run")["pack"]["ok"] > 0
    assert "measured" in outputs["world", "score"]
    assert (tmp_path / "trained" / "model").exists()
