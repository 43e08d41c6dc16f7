"""Step `fingerprint`: hash the frames and the sound of a clip, so that copies are found without its media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manifests.duplicate_records import Fingerprint
from manifests.records import Clip, ClipMedia, Media
from pipeline import step
from pipeline.hashing.clip import make_fingerprint
from pipeline.media.audio import WAV_HEAD
from pipeline.media.media_store import MediaReader


@dataclass(frozen=True)
class FingerprintInput:
    """The stored media of a clip, and the clip."""

    media: ClipMedia
    clip: Clip


class FingerprintStep(step.Step[FingerprintInput, Fingerprint]):
    """Hash the stored frames and sound of a clip."""

    name, takes, gives = "fingerprint", FingerprintInput, Fingerprint
    beside = True
    # A clip of 48 frames and 30 s of sound takes 0.2 s.
    resources = step.Resources(batch=16)

    def open(self) -> None:
        """Open no file yet: media are read by reference."""
        self.read = MediaReader(self.root)

    def run(self, batch: Sequence[FingerprintInput]) -> list[list[Fingerprint]]:
        """Return the fingerprint of each clip."""
        return [[self._make_fingerprint(entry.media, entry.clip)] for entry in batch]

    def _make_fingerprint(self, media: ClipMedia, clip: Clip) -> Fingerprint:
        length, samples = (clip.end_ms - clip.start_ms) / 1000, self._read_samples(media.sound)
        return make_fingerprint(clip.id, length, media.frame_ms, self.read.frames(media), samples)

    def _read_samples(self, sound: Media | None) -> np.ndarray:
        return np.frombuffer(b"" if sound is None else self.read(sound)[WAV_HEAD:], "<i2")
