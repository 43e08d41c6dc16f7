"""One rank of two is killed in a step, in a save or between phases; another number of ranks reads each task once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.trainer import train
from tests.stages.forked_ranks import KINDS, RESUMED_ON, plan
from tests.stages.lessons import lessons, logged, read, tensors, write_model
from tests.test_project import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    write_model(folder / "model")
    lessons(folder / "shards", KINDS, 6)
    subprocess.run([sys.executable, "-m", "tests.stages.forked_ranks", folder], cwd=ROOT, check=True, timeout=280)
    train(plan(folder, "whole"), say=len)
    return folder


@pytest.mark.parametrize("place", RESUMED_ON)
@pytest.mark.parametrize("phase", ["first", "second"])
def test_no_task_is_lost_or_read_twice(folder: Path, place: str, phase: str) -> None:
    assert read(folder / place, phase) == read(folder / "whole", phase)
    losses = [[row["loss"] for row in logged(folder / name, phase)] for name in (place, "whole")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert len(losses[0]) == 2


@pytest.mark.parametrize("place", RESUMED_ON)
def test_the_model_is_that_of_a_whole_training(folder: Path, place: str) -> None:
    one, whole = (tensors(folder / name / "model") for name in (place, "whole"))
    assert all(torch.allclose(one[name], whole[name], atol=1e-4) for name in whole)
