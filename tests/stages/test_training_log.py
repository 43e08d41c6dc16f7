"""What the log of a training takes for a spike."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.training_log import EARLY, TrainingLog


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
    log = TrainingLog(tmp_path)
    assert not log.is_spike(1000.0), "too early to say"
    log.losses.extend([usual] * EARLY)
    assert log.is_spike(loss) is is_spike
