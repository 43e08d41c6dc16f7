"""Checkpoints in shards: what a rank reads and writes, models made of them, and checkpoints of earlier versions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from ola.checkpoint import BadCheckpoint
from ola.model import OlaForConditionalGeneration
from stages.checkpoints import DONE
from stages.errors import StagesError
from stages.merging import merge
from stages.sharded_state import GATHERED, MASTER, OPTIMIZER, STATE, WEIGHTS
from stages.trainer import train
from tests.stages.lessons import lessons, logged, short, tensors, training, write_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps, in which the checkpoints of steps 2 and 4 stay; weights are stored in bfloat16."""
    folder = tmp_path_factory.mktemp("state")
    write_model(folder / "model", torch.bfloat16)
    lessons(folder / "shards", ("image_caption", "speech_recognition"), 2)
    train(plan(folder, "out"), say=len)
    return folder


def plan(folder: Path, name: str) -> Any:
    shards = tuple(str(path) for path in sorted((folder / "shards").iterdir()))
    return training(shards, str(folder / "model"), folder / name, short(steps=4), save_every=2)


def go_on(folder: Path, name: str) -> None:
    """Copy the training without its last checkpoint, and train the rest again."""
    train(plan(folder, name), say=len)
    losses = [[row["loss"] for row in logged(folder / each)] for each in (name, "out")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    one, other = (tensors(folder / each / "model") for each in (name, "out"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def without_last(folder: Path, name: str) -> Path:
    shutil.copytree(folder / "out", folder / name, symlinks=True)
    shutil.rmtree(folder / name / "test" / "step-000004")
    return folder / name / "test" / "step-000002"


def test_a_checkpoint_becomes_a_model_once_it_is_merged(folder: Path, tmp_path: Path) -> None:
    checkpoints = folder / "out" / "test"
    with pytest.raises(BadCheckpoint, match=r"step-000002 is a checkpoint of a training; .* --merge .*step-000002 OUT"):
        OlaForConditionalGeneration.from_pretrained(checkpoints / "step-000002")
    merge(checkpoints / "step-000002", tmp_path / "two")
    model = OlaForConditionalGeneration.from_pretrained(tmp_path / "two")
    assert model.dtype == torch.bfloat16
    merge(checkpoints / "step-000004", tmp_path / "four")
    merged, last, start = map(tensors, (tmp_path / "four", folder / "out" / "model", folder / "model"))
    assert merged.keys() == last.keys() == start.keys()
    assert all(torch.equal(merged[name], last[name]) for name in last)
    assert all(merged[name].dtype == (torch.float32 if "beats" in name else start[name].dtype) for name in start)
    assert not torch.equal(model.lm_head.weight, merged["lm_head.weight"])
    with pytest.raises(StagesError, match="exists already"):
        merge(checkpoints / "step-000004", tmp_path / "four")
    with pytest.raises(StagesError, match=f"expected a checkpoint of `ola train` with {DONE} and the folder {STATE}"):
        merge(folder / "model", tmp_path / "five")


def test_checkpoints_of_earlier_versions_go_on(folder: Path, tmp_path: Path) -> None:
    """They hold a whole model, and the optimizer with float32 weights in one file."""
    old = without_last(folder, "old")
    dcp_to_torch_save(old / STATE, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt")
    stored = load_file(folder / "model" / "model.safetensors")
    weights = {name.removeprefix(WEIGHTS): each for name, each in whole.items() if name.startswith(WEIGHTS)}
    rest = {name.removeprefix(OPTIMIZER): each for name, each in whole.items() if name.startswith(OPTIMIZER)}
    trained = {name.rpartition("/")[0] for name in rest}
    save_file({name: each.to(stored[name].dtype) for name, each in weights.items()}, old / "model.safetensors")
    save_file(rest | {f"{name}/{MASTER}": weights[name] for name in trained}, old / GATHERED)
    shutil.rmtree(old / STATE)
    go_on(folder, "old")


def test_a_damaged_checkpoint_is_one_line(folder: Path) -> None:
    damaged = without_last(folder, "damaged")
    (file,) = (damaged / STATE).glob("*.distcp")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(StagesError, match=r"step-000002/state: .*; remove the folder to resume from the previous one"):
        train(plan(folder, "damaged"), say=len)
    (damaged / STATE / ".metadata").unlink()
    with pytest.raises(StagesError, match=r"step-000002/state: .*; remove the folder to resume from the previous one"):
        train(plan(folder, "damaged"), say=len)
