"""Mix audio channels to mono; where the channels cancel each other in the mix, take the strongest channel instead."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE = 48000
FAR_WEAKER = 0.9  # share of the energy lost: 10 dB; a channel with inverted polarity loses 20 dB and more
AUDIBLE = 10.0  # of 32768: weaker sound is codec noise


class Mix(NamedTuple):
    """PCM16 of one channel; `cancelled` and `channel` as in `ClipMedia`."""

    pcm: bytes
    cancelled: float | None = None
    channel: int | None = None


def downmix(mono_pcm: bytes, channels_pcm: bytes, weights: tuple[float, ...]) -> Mix:
    """Return the mono mix, or the strongest channel where the mix is far weaker than one of unrelated channels.

    mono_pcm: PCM16 of the mix; channels_pcm: of its channels, interleaved; weights: of each channel in the mix.
    """
    channels = np.frombuffer(channels_pcm, dtype="<i2").reshape(-1, len(weights))
    energies = np.array([_energy(channels[:, n]) for n in range(len(weights))]) * np.square(weights)
    strongest = int(energies.argmax())
    if energies[strongest] <= (weights[strongest] * AUDIBLE) ** 2:
        return Mix(mono_pcm, 0.0)
    lost = max(0.0, 1 - _energy(np.frombuffer(mono_pcm, dtype="<i2")) / float(energies.sum()))
    cancelled = round(lost, 4)
    if cancelled <= FAR_WEAKER:
        return Mix(mono_pcm, cancelled)
    return Mix(channels[:, strongest].tobytes(), cancelled, strongest)


def _energy(samples: NDArray[np.int16]) -> float:
    """Return the mean of the squares; 0 for no samples."""
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


@cache
def weights_of(layout: str, channels: int) -> tuple[float, ...]:
    """Return the weight of each channel in libav's mono mix of a layout; empty where libav cannot mix the layout."""
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
