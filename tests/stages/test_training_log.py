"""The detection of spikes in the log of a training."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from stages.training_log import MIN_STEPS, TrainingLog


def log_of(folder: Path, spike: float = 4.0, **losses: list[float]) -> TrainingLog:
    log = TrainingLog(folder, spike=spike)
    for kind, usual in losses.items():
        log.losses[kind].extend(usual)
    return log


@pytest.mark.parametrize(
    ("usual", "loss", "is_spike"),
    [
        (2.0, 7.9, False),
        (2.0, 8.1, True),
        (0.013, 0.054, False),  # four times the usual, and as good as learned
        (0.013, 0.6, True),
    ],
)
def test_a_spike_is_many_times_the_usual_loss_and_a_good_deal_above_it(
    tmp_path: Path, usual: float, loss: float, is_spike: bool
) -> None:
    assert not TrainingLog(tmp_path).is_spike({"chat": (1000.0, 1)}), "too early to say"
    log = log_of(tmp_path, chat=[usual] * MIN_STEPS)
    assert log.is_spike({"chat": (loss * 7, 7)}) is is_spike
    assert not log_of(tmp_path, spike=0, chat=[usual] * MIN_STEPS).is_spike({"chat": (1e9, 7)})


def test_a_kind_is_held_against_itself(tmp_path: Path) -> None:
    log = log_of(tmp_path, image_chat=[0.2] * MIN_STEPS, chat=[5.0] * MIN_STEPS)
    assert not log.is_spike({"chat": (5.5 * 9, 9)})
    assert not log.is_spike({"chat": (5.5 * 9, 9), "image_chat": (0.0, 0)})
    assert log.is_spike({"image_chat": (5.5 * 9, 9)})
    assert log.is_spike({"image_chat": (5.5 * 9, 9), "chat": (5.0, 1), "unseen": (1.0, 1)})
    assert not log.is_spike({"unseen": (100.0, 9), "image_chat": (0.2 * 9, 9)})


def test_small_batches_of_easy_and_hard_tasks_are_no_spikes(tmp_path: Path) -> None:
    chance = random.Random(5)
    losses = [chance.choice([0.3, 0.4, 0.5, 3.0]) for _ in range(60)]
    log = log_of(tmp_path, image_chat=losses[:MIN_STEPS])
    for loss in losses[MIN_STEPS:]:
        assert not log.is_spike({"image_chat": (loss, 1)})
        log.losses["image_chat"].append(loss)
    assert log.is_spike({"image_chat": (4.0, 1)})
