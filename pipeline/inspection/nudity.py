"""Find nudity in frames with the model of NudeNet, whose package is licensed under the AGPL-3.0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inspection.packages import open_weights

Frame = NDArray[np.uint8]  # (height, width, 3), RGB

MODEL = "320n.onnx"
SIDE = 320  # pixels of the model's input
BOX = 4  # numbers of a detection before the probabilities of its 18 classes
# Classes of the model: buttocks, breast (female), genitals (female), anus and genitals (male), all uncovered.
UNCOVERED = (2, 3, 4, 6, 14)


class NudityDetector:
    """Measures nudity in frames. session: the ONNX session of NudeNet."""

    def __init__(self, session: Any) -> None:
        """Keep the session; see `open_nudity_detector`."""
        self.session = session

    def score(self, frame: Frame) -> float:
        """Return the highest probability of an uncovered part of a body, 0..1."""
        (detections,) = self.session.run(None, {"images": prepare_frame(frame)})
        return float(detections[0, BOX:][list(UNCOVERED)].max())


def prepare_frame(frame: Frame) -> NDArray[np.float32]:
    """Return a frame as the model takes it: (1, 3, SIDE, SIDE), 0..1, in the upper left corner of a black square."""
    from PIL import Image

    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    square = np.zeros((SIDE, SIDE, 3), np.float32)
    square[: size[1], : size[0]] = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None] / np.float32(255))


def open_nudity_detector() -> NudityDetector:
    """Load NudeNet. Raises ConfigError without its packages."""
    return NudityDetector(open_weights("nudity", MODEL))
