"""Figures reach a tracker of the user's own, and one whose package is missing is one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from stages.errors import StagesError
from stages.trackers import open_tracker
from stages.trainer import train
from tests.stages.lessons import lessons, logged, short, training, write_model

pytestmark = pytest.mark.usefixtures("one_thread")


class Kept:
    """Keeps what it is given."""

    runs: ClassVar[list[Kept]] = []

    def __init__(self, run: str, folder: Path) -> None:
        self.run, self.folder, self.values, self.ended = run, folder, dict[int, Mapping[str, float]](), False
        self.runs.append(self)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.values[step] = values

    def finish(self) -> None:
        self.ended = True


def test_each_phase_is_a_run(tmp_path: Path) -> None:
    model, shards = write_model(tmp_path / "model"), lessons(tmp_path / "shards", ["image_caption"], 2)
    phases = short(name="one", steps=2), short(name="two", steps=1)
    Kept.runs.clear()
    train(training(shards, model, tmp_path / "out", *phases, trackers=(f"{__name__}:Kept",)), say=len)
    assert [(each.run, sorted(each.values), each.ended) for each in Kept.runs] == [
        ("out-one", [1, 2], True),
        ("out-two", [1], True),
    ]
    losses = [row["loss"] for row in logged(tmp_path / "out", "one")]
    assert [Kept.runs[0].values[step]["loss"] for step in (1, 2)] == losses
    assert {"loss/image_caption", "norm", "tokens/s"} <= set(Kept.runs[0].values[1])


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow", "nowhere:factory", f"{__name__}:Missing"])
def test_a_missing_package_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StagesError, match=rf"^tracker {name}: .*; install its package, or name another tracker$"):
        open_tracker(name, "run", tmp_path)


def test_an_unknown_tracker_is_named(tmp_path: Path) -> None:
    with pytest.raises(StagesError, match=r"^tracker: expected tensorboard, .* or module:factory, got 'board'$"):
        open_tracker("board", "run", tmp_path)
