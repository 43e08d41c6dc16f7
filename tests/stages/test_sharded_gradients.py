"""Two and three ranks have the losses and gradients of one, for all that recipes train and for each module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.parameters import module_of
from stages.recipe import packaged_recipes, read_recipe
from tests.stages.lessons import lessons, write_model
from tests.stages.sharded_gradients import KINDS, phases
from tests.test_project import ROOT

ROUNDING = 1e-5  # sums in float32, in another order
Steps = dict[str, tuple[dict[str, Any], dict[str, Tensor]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A step of each phase on one rank and on two."""
    folder = tmp_path_factory.mktemp("ranks")
    write_model(folder / "model", torch.bfloat16)
    lessons(folder / "shards", KINDS, 2)
    run_steps(folder, "1", "2")
    return folder


@pytest.fixture(scope="module")
def folder_of_three(folder: Path) -> Path:
    """The same, on three ranks as well."""
    run_steps(folder, "3")
    return folder


def run_steps(folder: Path, *ranks: str) -> None:
    command = [sys.executable, "-m", "tests.stages.sharded_gradients", str(folder), *ranks]
    subprocess.run(command, cwd=ROOT, check=True, timeout=280)


def read_steps(folder: Path, ranks: int) -> Steps:
    found: Steps = torch.load(folder / f"{ranks}.pt")
    return found


@pytest.mark.parametrize("name", phases())
def test_two_ranks_have_the_losses_and_gradients_of_one(folder: Path, name: str) -> None:
    compare(*(read_steps(folder, ranks)[name] for ranks in (1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", phases())
def test_three_ranks_have_the_losses_and_gradients_of_one(folder_of_three: Path, name: str) -> None:
    compare(*(read_steps(folder_of_three, ranks)[name] for ranks in (1, 3)))


def compare(one: tuple[dict[str, Any], dict[str, Tensor]], several: tuple[dict[str, Any], dict[str, Tensor]]) -> None:
    """Fail unless losses and gradients are equal within rounding."""
    (losses, gradients), (their_losses, their_gradients) = one, several
    assert their_losses["tokens"] == losses["tokens"]
    assert their_losses["by_kind"].keys() == losses["by_kind"].keys()
    for kind, facts in losses["by_kind"].items():
        assert their_losses["by_kind"][kind] == pytest.approx(facts, rel=ROUNDING)
    assert their_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        error = (their_gradients[name] - gradient).norm()
        assert error <= ROUNDING * gradient.norm(), (name, error / gradient.norm())


@pytest.mark.parametrize("name", phases())
def test_each_trained_module_has_gradients(folder: Path, name: str) -> None:
    _, gradients = read_steps(folder, 1)[name]
    moved = {module_of(parameter) for parameter, gradient in gradients.items() if gradient.norm() > 0}
    assert moved == set(phases()[name].lr)


def test_all_packaged_recipes_are_among_them() -> None:
    trained = {frozenset(phase.lr) for name in packaged_recipes() for phase in read_recipe(name).phases}
    assert trained <= {frozenset(phase.lr) for phase in phases().values()}
