"""Where the channels of a sound cancel each other in its mix, the strongest of them is heard instead."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE = 48000
FAR_WEAKER = 0.9  # share of the energy lost: 10 dB; a microphone that is wired the wrong way round loses 20 and more
AUDIBLE = 10.0  # of 32768: what is weaker is the noise of a codec


class Mix(NamedTuple):
    """PCM16 of one channel; `cancelled` and `channel` as in `Footage`."""

    pcm: bytes
    cancelled: float | None = None
    channel: int | None = None


def downmix(mono: bytes, apart: bytes, weights: tuple[float, ...]) -> Mix:
    """The mix, or the strongest channel where the mix is far weaker than sounds that have nothing in common would be.

    mono: PCM16 of the mix; apart: of the channels it is made of, interleaved; weights: of each in the mix.
    """
    channels = np.frombuffer(apart, dtype="<i2").reshape(-1, len(weights))
    energies = np.array([_energy(channels[:, n]) for n in range(len(weights))]) * np.square(weights)
    strongest = int(energies.argmax())
    if energies[strongest] <= (weights[strongest] * AUDIBLE) ** 2:
        return Mix(mono, 0.0)
    lost = max(0.0, 1 - _energy(np.frombuffer(mono, dtype="<i2")) / float(energies.sum()))
    cancelled = round(lost, 4)
    if cancelled <= FAR_WEAKER:
        return Mix(mono, cancelled)
    return Mix(channels[:, strongest].tobytes(), cancelled, strongest)


def _energy(samples: NDArray[np.int16]) -> float:
    """Mean of the squares, 0 of nothing."""
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


@cache
def weights_of(layout: str, channels: int) -> tuple[float, ...]:
    """How much of each channel of a layout libav puts into its mix for one channel; empty where it cannot tell."""
    import av.error

    try:
        return tuple(_weight(layout, channels, n) for n in range(channels))
    except (av.error.FFmpegError, ValueError, IndexError):
        return ()


def _weight(layout: str, channels: int, n: int) -> float:
    import av

    samples = np.zeros((RATE // 10, channels), dtype=np.float32)
    samples[:, n] = 0.5
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", layout)
    frame.sample_rate = RATE
    [*parts] = av.AudioResampler("s16", "mono", RATE).resample(frame)
    return float(np.concatenate([part.to_ndarray() for part in parts], axis=1).mean()) / (0.5 * 32768)
