"""The reader of text in pictures: its lines and boxes, what it says without its package, and real pictures."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import ConfigError
from pipeline.inspection.text_reader import Frame, TextLine, TextReader, open_text_reader


@dataclass
class Found:
    """What an engine returns."""

    boxes: np.ndarray | None = None
    txts: tuple[str, ...] | None = None
    scores: tuple[float, ...] | None = None


def test_lines_have_boxes_in_shares_of_the_frame() -> None:
    seen: list[Frame] = []

    def engine(picture: Frame) -> Found:
        seen.append(picture)
        corners = np.array([[[10, 42], [90, 38], [90, 48], [10, 52]]], np.float32)
        return Found(corners, ("said",), (0.75,))

    frame = np.zeros((50, 100, 3), np.uint8)
    frame[..., 0] = 200
    (line,) = TextReader(engine).read(frame)
    assert (line.text, line.score) == ("said", 0.75)
    assert line.box == pytest.approx((0.1, 0.76, 0.9, 1.0)), "the box ends at the edge of the frame"
    assert line.area == pytest.approx(0.8 * 0.24)
    assert seen[0][0, 0].tolist() == [0, 0, 200], "the engine takes BGR"
    assert seen[0].flags.c_contiguous


def test_a_frame_without_text_has_no_lines() -> None:
    frame = np.zeros((50, 100, 3), np.uint8)
    assert TextReader(lambda _: Found()).read(frame) == ()
    assert TextReader(lambda _: Found(np.zeros((0, 4, 2)), (), ())).read(frame) == ()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ConfigError, match=r"^inspect\.text: .*rapidocr.*ola-pipeline\[inspect-text\]") as raised:
        open_text_reader()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("height", [14, 20, 28])
def test_words_in_a_picture_are_read_where_they_stand(height: int) -> None:
    pytest.importorskip("rapidocr")
    draw = np.random.default_rng([height, 25])
    texture = np.kron(draw.uniform(30, 210, (9, 16, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    picture = Image.fromarray(texture)
    font = ImageFont.load_default(size=height)
    style = {"font": font, "anchor": "mm", "fill": "white", "stroke_width": 2, "stroke_fill": "black"}
    ImageDraw.Draw(picture).text((256, 250), "Seven ships came home", **style)  # type: ignore[arg-type]
    reader = open_text_reader()
    lines = reader.read(np.asarray(picture))
    assert joined(lines) == "sevenshipscamehome"
    assert all(0.8 < top < bottom < 0.95 and left < 0.5 < right for left, top, right, bottom in (x.box for x in lines))
    assert reader.read(texture) == ()


def joined(lines: tuple[TextLine, ...]) -> str:
    return "".join(line.text for line in lines).replace(" ", "").lower()
