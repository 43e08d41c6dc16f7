"""The stages of `make nano` and `make figure3`: completed stages are skipped; the card and the figure are written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from pipeline.synthetic.nano import card, figure3, train
from pipeline.synthetic.nano.initial_weights import initial_model
from pipeline.synthetic.nano.tokenizer import build_tokenizer
from pipeline.synthetic.nano.train import WorkFolder
from stages.recipe import read_recipe
from stages.training_log import StepFigures, TrainingLog


def test_a_completed_stage_is_skipped_and_a_failed_one_runs_again(tmp_path: Path) -> None:
    done, work = Counter[str](), WorkFolder(tmp_path, len)

    def breaks(folder: Path) -> None:
        (folder / "left").touch()
        raise OSError("no more space")

    for _ in range(2):
        assert work.run_stage("one", lambda folder: done.update([folder.name])) == tmp_path / "one"
        with pytest.raises(OSError, match="no more space"):
            work.run_stage("two", breaks)
    assert done == {"one": 1}
    work.run_stage("two", lambda folder: done.update(path.name for path in folder.iterdir()))
    assert done["left"] == 1, "files of the failed try remain"


def test_recipes_are_valid_and_those_of_figure_3_take_equal_steps() -> None:
    found = {file.stem: read_recipe(str(file)) for file in train.RECIPES.glob("*.yaml")}
    assert {"primer", "text", "media"} < found.keys()
    orders = [found[f"figure3-{order}"].phases for order in figure3.ORDERS]
    assert len({sum(phase.steps or 0 for phase in phases) for phases in orders}) == 1
    assert len({(phase.batch, phase.sequence_tokens) for phases in orders for phase in phases}) == 1


def test_float16_weights_are_the_same_model_in_half_of_the_bytes(tmp_path: Path) -> None:
    model = initial_model(0)
    (tmp_path / "half").mkdir()
    model.save_pretrained(tmp_path / "whole")
    OlaProcessor(build_tokenizer(), model.config).save_pretrained(tmp_path / "whole")
    train.save_half_precision(tmp_path / "whole", tmp_path / "half")
    sizes = [(tmp_path / name / train.TENSORS_FILE).stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    again = OlaForConditionalGeneration.from_pretrained(tmp_path / "half")
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-6)
    assert OlaProcessor.from_pretrained(tmp_path / "half").tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_a_card_has_the_results_of_each_split_and_the_curves(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "trained" / "text")
    for step in range(25):
        of_kind = {"chat": 2.0 / (step + 1)}
        log.add(StepFigures(step + 1, 25, 0, 1.0, 1.0, {}, 10, 1.0, 0.0, None, of_kind, {"image": 4}, 0), ["task"])
    log.write(25, log.take_tables())
    results = {
        "val": {"image_qa": {"right": 0.95, "n": 40}, "judged": {"right": 1.0, "n": 10, "guessed": 0.2}},
        "test": {"transcribe, words": {"right": 0.5, "n": 8}, "judged": {"right": 0.9, "n": 30, "guessed": 0.6}},
    }
    for split, some in results.items():
        (tmp_path / f"{split}.json").write_text(json.dumps(some))
    (tmp_path / "nano").mkdir()
    (tmp_path / "read.json").write_text(json.dumps({"two steps": {"right": 0.75, "n": 4}}))
    examined = {split: tmp_path / f"{split}.json" for split in results}
    card.write_card(tmp_path / "nano", examined, tmp_path / "read.json", [tmp_path / "trained"])
    written = (tmp_path / "nano" / "README.md").read_text()
    assert "| image_qa | 0.95 (40) | – | – |\n| judged | 1.00 (10) | 0.90 (30) | 0.50 |" in written
    assert "| two steps | 0.75 (4) | – |" in written
    assert not any(place in written for place in card.PLACEHOLDERS)
    with Image.open(tmp_path / "nano" / card.CURVES_FILE) as curves:
        assert curves.width > 500


def test_figure_3_has_means_and_intervals(tmp_path: Path) -> None:
    assert figure3.half_interval([0.5, 0.6, 0.7]) == pytest.approx(4.303 * 0.1 / 3**0.5)
    scores = {
        order: [dict.fromkeys(figure3.SUITES, 0.5 + 0.1 * n + 0.01 * seed) for seed in figure3.SEEDS]
        for n, order in enumerate(figure3.ORDERS)
    }
    figure3.publish(scores, tmp_path)
    assert "| direct | 0.610 ± 0.025 | 0.610 ± 0.025 | 0.610 ± 0.025 |" in (tmp_path / "figure3.md").read_text()
    facts = json.loads((tmp_path / "figure3.json").read_text())
    assert facts["seeds"] == [0, 1, 2]
    assert facts["scores"] == scores
    with Image.open(tmp_path / "figure3.png") as picture:
        assert picture.width > 500
