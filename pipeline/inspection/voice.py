"""Measure the share of a sound with a voice, with the model of Silero VAD, and its quality, with DNSMOS.

The weights are those of the packages `silero-vad` and `speechmos`. Their code does not run: it needs torch and librosa.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inspection.packages import open_weights

Samples = NDArray[np.int16]  # 16 kHz, one channel
FULL = 32768.0

VOICE_MODEL = "data/silero_vad_16k_sequence.onnx"
STEP, CONTEXT = 512, 64  # samples of which the model gives one probability, and samples before them that it sees
VOICED = 0.5  # probability from which a moment has a voice, the default of the package
STATE = 128  # size of the model's state

QUALITY_MODEL = "dnsmos_models/sig_bak_ovr.onnx"
LENGTH = 144_160  # samples that DNSMOS hears at once: 9.01 s
MOST_PIECES = 3  # of a clip; a piece takes 0.17 s of a core
QUIET = 3  # of 32,768: a sound that stays below is silence
# Polynomials from the model's outputs to the scale of listeners, as published with DNSMOS P.835.
CALIBRATION: Mapping[str, tuple[float, float, float]] = {
    "speech_clarity": (-0.08397278, 1.22083953, 0.0052439),
    "speech_background": (-0.13166888, 1.60915514, -0.39604546),
    "speech_quality": (-0.06766283, 1.11546468, 0.04602535),
}


class VoiceDetector:
    """Measures the share of sounds with a voice. session: the ONNX session of Silero VAD for sequences."""

    def __init__(self, session: Any) -> None:
        """Keep the session; see `open_voice_detector`."""
        self.session = session

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Return the probability of a voice in each step of 32 ms."""
        count = -(-len(samples) // STEP)
        padded = np.zeros(CONTEXT + count * STEP, np.float32)
        padded[CONTEXT : CONTEXT + len(samples)] = samples / FULL
        windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + STEP)[::STEP]
        state = np.zeros((1, 1, STATE), np.float32)
        inputs = {"input": np.ascontiguousarray(windows), "h": state, "c": state}
        return np.asarray(self.session.run(["speech_probs"], inputs)[0], np.float32).reshape(-1)

    def share(self, samples: Samples) -> float:
        """Return the share of the sound with a voice."""
        return float((self.probabilities(samples) >= VOICED).mean())


class QualityMeter:
    """Measures the quality of speech. session: the ONNX session of DNSMOS P.835."""

    def __init__(self, session: Any) -> None:
        """Keep the session; see `open_quality_meter`."""
        self.session = session

    def scores(self, samples: Samples) -> dict[str, float | None]:
        """Return the mean scores of up to MOST_PIECES pieces, evenly spread; null for silence."""
        if np.abs(samples.astype(np.int32)).max() < QUIET:
            return dict.fromkeys(CALIBRATION)
        pieces = [cut_piece(samples, start) for start in starts_of_pieces(len(samples))]
        raw = np.concatenate([self.session.run(None, {"input_1": piece[None]})[0] for piece in pieces])
        return {
            name: float(np.polyval(polynomial, raw[:, n]).mean())
            for n, (name, polynomial) in enumerate(CALIBRATION.items())
        }


def starts_of_pieces(length: int) -> list[int]:
    """Return the first samples of the pieces of a sound that DNSMOS hears."""
    count = min(MOST_PIECES, -(-length // LENGTH))
    return [int(start) for start in np.linspace(0, max(0, length - LENGTH), count)]


def cut_piece(samples: Samples, start: int) -> NDArray[np.float32]:
    """Return a piece as the model takes it: -1..1, repeated where the sound is shorter."""
    piece = samples[start : start + LENGTH].astype(np.float32) / np.float32(FULL)
    return np.resize(piece, LENGTH)


def open_voice_detector() -> VoiceDetector:
    """Load Silero VAD. Raises ConfigError without its packages."""
    return VoiceDetector(open_weights("speech", VOICE_MODEL))


def open_quality_meter() -> QualityMeter:
    """Load DNSMOS. Raises ConfigError without its packages."""
    return QualityMeter(open_weights("quality", QUALITY_MODEL))
