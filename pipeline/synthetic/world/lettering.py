"""Draw texts into frames: subtitles with an outline, and scene text on a plate."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.synthetic.world.scenes import SceneText

PLACES = {"top": 0.12, "bottom": 0.88}  # height of the middle of a line, as a share of the frame's side
WHITE, BLACK = (250, 250, 250), (10, 10, 10)
OUTLINE = 0.1  # width, as a share of the size of the letters


def draw_text(picture: npt.NDArray[np.uint8], text: SceneText) -> npt.NDArray[np.uint8]:
    """Return a picture with a text, centred at its place."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    side = image.width
    pen = ImageDraw.Draw(image)
    centre, font = (side / 2, PLACES[text.place] * side), _font(round(text.size * side))
    if text.plate:
        left, top, right, bottom = pen.textbbox(centre, text.text, font, anchor="mm")
        margin = round(text.size * side / 4)
        pen.rectangle((left - margin, top - margin, right + margin, bottom + margin), WHITE)
        pen.text(centre, text.text, BLACK, font, anchor="mm")
    else:
        width = max(1, round(OUTLINE * text.size * side))
        pen.text(centre, text.text, WHITE, font, anchor="mm", stroke_width=width, stroke_fill=BLACK)
    return np.asarray(image)


@cache
def _font(pixels: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(pixels)
