"""`ola train` from the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli.train import TrainingDisplay
from tests.runs import ola
from tests.stages.lessons import lessons, write_model

RECIPE = """
phases:
  - name: see
    stages: [image]
    lr: {visual_projector: 1e-3}
    batch: 1
    sequence_tokens: 200
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A recipe, shards and a model."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "see.yaml").write_text(RECIPE)
    (shards,) = lessons(folder / "shards", ["image_caption"], 3)
    return str(folder / "see.yaml"), shards, write_model(folder / "model")


def test_it_trains_and_says_where_the_model_is(made: tuple[str, str, str], tmp_path: Path) -> None:
    recipe, shards, model = made
    given = ("train", recipe, "--shards", shards, "--model", model, "--out", tmp_path, "--set", "see.steps=2")
    said = ola(*given, "--tensorboard", "--decoders", "0")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("phase see: 2 steps · trains visual_projector")
    assert lines[1].startswith("step 1/2 · loss ")
    assert lines[-1] == str(tmp_path / "see" / "step-000002")
    assert list((tmp_path / "see" / "board").glob("events.*"))
    merged = ola("model", tmp_path / "merged", "--merge", lines[-1])
    assert merged.code == 0
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == (
        tmp_path / "model" / "model.safetensors"
    ).read_bytes()
    again = ola("model", tmp_path / "merged", "--merge", lines[-1])
    assert again.code == 3
    assert again.err.splitlines() == [f"ola: {tmp_path / 'merged'}: exists already; name another folder"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--set", "tasks=[video_qa]"), "no shard has a task of the kind 'video_qa' (there are: image_caption 3)"),
        (("--set", "see.lr={ears: 1}"), "recipe"),
        (("--shards", "nowhere"), "nowhere: no shards"),
    ],
)
def test_what_is_wrong_is_one_line(
    made: tuple[str, str, str], change: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    recipe, shards, model = made
    said = ola("train", recipe, "--shards", shards, "--model", model, "--out", tmp_path, *change)
    assert said.code == 3
    (line,) = said.err.splitlines()
    assert line.startswith("ola: ")
    assert words in line


def test_a_terminal_has_a_bar_with_the_last_step() -> None:
    screen = io.StringIO()
    shown = TrainingDisplay(Console(file=screen, force_terminal=True, width=120))
    with shown.progress:
        shown("phase see: 2 steps")
        shown("step 1/2 · loss 3.0 [omni]")
    assert "phase see: 2 steps" in screen.getvalue()
    assert "1/2" in screen.getvalue()
    assert "loss 3.0 [omni]" in screen.getvalue()
    assert "step 1/2" not in screen.getvalue()
