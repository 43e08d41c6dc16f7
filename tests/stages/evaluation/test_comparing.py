"""Results of several models side by side, and Figure 3."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.errors import StagesError
from stages.evaluation.comparison import ComparisonRow, compare, draw, value_range
from stages.evaluation.runner import Result


def result(metric: str, value: float, n: int = 10) -> Result:
    falls = metric == "word error"
    return Result(
        metric=metric, falls=falls, value=value, n=n, unparsed=0, errors=0, by_category={}, model="a", exact_match=None
    )


def stored(folder: Path, name: str, **suites: Result) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "results.json").write_text(json.dumps(suites))
    return folder / name


def three(folder: Path) -> list[Path]:
    """Values of the kind in Figure 3; the numbers are made up."""
    numbers = {
        "progressive": (0.80, 0.60, 0.05),
        "direct": (0.76, 0.57, 0.10),
        "balanced": (0.80, 0.63, 0.04),
    }
    return [
        stored(
            folder,
            name,
            mmbench=result("accuracy", image),
            videomme=result("accuracy", video),
            librispeech=result("word error", speech),
        )
        for name, (image, video, speech) in numbers.items()
    ]


def test_relative_to_the_first(tmp_path: Path) -> None:
    names, lines = compare(three(tmp_path))
    assert names == ["progressive", "direct", "balanced"]
    relative = {line.suite: line.relative for line in lines}
    assert relative["mmbench"] == pytest.approx((1, 0.95, 1))
    assert relative["videomme"] == pytest.approx((1, 0.95, 1.05))
    assert relative["librispeech"] == pytest.approx((1, 0.5, 1.25))  # inverted: twice the errors, half the score


def test_what_has_no_quotient(tmp_path: Path) -> None:
    first = stored(
        tmp_path, "a", mmbench=result("accuracy", 0), librispeech=result("word error", 0.1), only=result("F1", 1)
    )
    second = stored(tmp_path, "b", mmbench=result("accuracy", 0.5), librispeech=result("word error", 0, n=7))
    _, lines = compare([first, second])
    assert {line.suite: (line.values, line.relative, line.uneven) for line in lines} == {
        "mmbench": ((0, 0.5), (1, None), False),
        "librispeech": ((0.1, 0), (1, None), True),
        "only": ((1, None), (1, None), False),
    }
    with pytest.raises(StagesError, match="nothing to draw"):
        draw(["a", "b"], lines, tmp_path / "none.png")


def test_names_are_told_apart(tmp_path: Path) -> None:
    one = stored(tmp_path / "x", "scores", mmbench=result("accuracy", 1))
    two = stored(tmp_path / "y", "scores", mmbench=result("accuracy", 1))
    assert compare([one, two])[0] == ["x/scores", "y/scores"]
    assert compare([one / "results.json", two])[0] == ["results", "scores"]


def test_metrics_must_agree(tmp_path: Path) -> None:
    one = stored(tmp_path, "a", mmbench=result("accuracy", 1))
    two = stored(tmp_path, "b", mmbench=result("F1", 1))
    with pytest.raises(StagesError, match="mmbench: expected one metric, got several"):
        compare([one, two])


def test_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "drawn" / "figure.png"
    names, lines = compare(three(tmp_path))
    draw(names, lines, file)
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    # the bars of the first model are higher together than those of the second
    shares = [int((np.abs(pixels - colour).sum(axis=-1) < 12).sum()) for colour in ((76, 114, 176), (221, 132, 82))]
    assert shares[0] > 1.2 * shares[1] > 1000
    assert not list(file.parent.glob("*draft*"))


def test_what_is_drawn_holds_its_intervals() -> None:
    lines = [
        ComparisonRow("image QA", "right", False, (0.8, 0.9), (1.0, 1.1), (3, 3), (0.05, 0.4)),
        ComparisonRow("video QA", "right", False, (0.8, None), (1.0, None), (3, 3)),
    ]
    assert value_range(lines) == pytest.approx((0.7, 1.5))
