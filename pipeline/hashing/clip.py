"""Make the fingerprint of a clip from its frames and its sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from manifests.duplicate_records import Fingerprint
from pipeline.hashing.pictures import decode_grey, hash_frames, trim_bars
from pipeline.hashing.sounds import hash_sound


def make_fingerprint(
    clip: str,
    length: float,
    frame_ms: Sequence[int],
    jpegs: Sequence[bytes | memoryview],
    samples: NDArray[np.int16],
) -> Fingerprint:
    """Hash a clip. length: in seconds. samples: 16 kHz mono; none for a clip without a sound track."""
    hashes, strong = hash_frames(trim_bars(decode_grey(jpegs)))
    landmark_ms, landmarks = hash_sound(samples)
    return Fingerprint(
        id=clip,
        clip=clip,
        length=length,
        frame_ms=tuple(frame_ms),
        frames=tuple(hashes.view(np.int64).ravel().tolist()),
        texture=tuple(strong.max(1).tolist()),
        landmark_ms=tuple(landmark_ms.tolist()),
        landmarks=tuple(landmarks.view(np.int64).ravel().tolist()),
    )
