"""Read the text in a picture with RapidOCR, whose wheel carries the models (PP-OCR).

reader = open_text_reader()
reader.read(frame)       # (TextLine(text='He had then leisure', score=0.98, box=(0.21, 0.86, 0.79, 0.93)),)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inspection.packages import explain_missing

Frame = NDArray[np.uint8]  # (height, width, 3), RGB
Box = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the width and the height

# Frames are shrunk to 448 pixels for the detector: its default enlarges the short side to 736, which takes six times as
# long. Text in videos stands upright: no classifier of angles. Lines are read one by one: a batch is as wide as its
# widest line, and takes up to twice as long. One thread: a worker has one core.
SETTINGS = {
    "Det.limit_type": "max",
    "Det.limit_side_len": 448,
    "Rec.rec_batch_num": 1,
    "Global.use_cls": False,
    "Global.log_level": "error",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


@dataclass(frozen=True)
class TextLine:
    """A line of text in a picture. score: how sure the recogniser is, 0.5..1. box: where the line stands."""

    text: str
    score: float
    box: Box

    @property
    def area(self) -> float:
        """Return the share of the picture that the box covers."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class TextReader:
    """Reads the lines of text in pictures. engine: returns `boxes`, `txts` and `scores` of a BGR picture."""

    def __init__(self, engine: Callable[[Frame], Any]) -> None:
        """Keep the engine; see `open_text_reader`."""
        self.engine = engine

    def read(self, frame: Frame) -> tuple[TextLine, ...]:
        """Return the lines of a picture, from top to bottom."""
        found = self.engine(np.ascontiguousarray(frame[..., ::-1]))
        if found.boxes is None or not found.txts:
            return ()
        lines = zip(found.txts, found.scores, found.boxes, strict=True)
        return tuple(TextLine(text, float(score), box_of(corners, frame)) for text, score, corners in lines)


def box_of(corners: NDArray[np.float32], frame: Frame) -> Box:
    """Return the upright box around corners in pixels, (corners, 2), cut off at the edges of the frame."""
    height, width = frame.shape[:2]
    shares = np.clip(np.asarray(corners, np.float64) / (width, height), 0, 1)
    (left, top), (right, bottom) = shares.min(0).tolist(), shares.max(0).tolist()
    return left, top, right, bottom


def open_text_reader() -> TextReader:
    """Load the models and return a reader that uses one thread. Raises ConfigError without the package."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise explain_missing("text", error) from error
    engine = RapidOCR(params=dict(SETTINGS))
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return TextReader(engine)
