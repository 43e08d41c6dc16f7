"""Score the sound of a clip, 16 kHz mono: clipping, bandwidth, hum, DC offset, noise floor, dropouts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.media.audio import RATE

Samples = NDArray[np.int16]
Power = NDArray[np.float64]
FULL = 32768.0
NEAR_FULL = 0.99 * FULL
BLOCK = RATE // 50  # samples of 20 ms
FLOOR_DB = -96.0
QUIET, LOUD = 0.1, 0.95  # quantiles of the levels of moments
WINDOW = 1024  # samples of a spectrum
BANDS = 128  # of a spectrum: 62.5 Hz each
LOUD_MOMENTS = 0.95  # quantile over time of a band's power: consonants are short
WITHIN_DB = 50.0  # of the loudest band
MAINS, HARMONICS = (50, 60), 5
HIGHEST = 2  # lines that count: hum may have odd or even harmonics alone
STEADY = 0.25  # quantile over time of a line's power: hum is there all the time
GAP = (RATE // 100, RATE // 2)  # samples of a dropout
ZERO = 2  # of 32,768: what counts as digital silence
AMID_DB = -50.0  # level around a dropout


def measure_clipping(samples: Samples) -> float:
    """Return the share of samples at full scale. Lossy codecs and resampling leave few of them next to each other."""
    return float((np.abs(samples.astype(np.int32)) >= NEAR_FULL).mean())


def measure_dc_offset(samples: Samples) -> float:
    """Return the absolute mean, as a share of full scale."""
    return float(abs(samples.mean(dtype=np.float64)) / FULL)


def measure_levels(samples: Samples) -> tuple[float, float]:
    """Return the noise floor in dBFS, and by how many dB the loud moments exceed it. The DC offset is no noise."""
    usable = samples[: max(BLOCK, len(samples) // BLOCK * BLOCK)].astype(np.float64) / FULL
    blocks = usable[None] if len(usable) < BLOCK else usable.reshape(-1, BLOCK)
    quiet, loud = np.quantile(_decibels(blocks.var(axis=1)), (QUIET, LOUD))
    return float(quiet), float(loud - quiet)


def _decibels(power: Power) -> Power:
    return np.asarray(np.maximum(FLOOR_DB, 10 * np.log10(np.maximum(power, 1e-12))), np.float64)


def measure_bandwidth(samples: Samples) -> float | None:
    """Return the highest frequency within 50 dB of the loudest band, by their loud moments; None for silence."""
    power = _spectra(samples, WINDOW, WINDOW // 2)[:, 1:]
    bands = power.reshape(len(power), BANDS, -1).sum(2)
    loud = np.quantile(bands, LOUD_MOMENTS, axis=0)
    if not np.sqrt(loud.max()) > ZERO:
        return None
    highest = np.flatnonzero(loud >= loud.max() / 10 ** (WITHIN_DB / 10))[-1]
    return float((highest + 1) * RATE / 2 / BANDS)


def measure_hum(samples: Samples) -> float | None:
    """Return the height of steady lines of the mains, in dB; None for silence or less than two seconds."""
    if len(samples) < 2 * RATE or np.abs(samples).max() <= ZERO:
        return None
    steady = np.quantile(_spectra(samples, RATE, RATE // 2)[:, : max(MAINS) * (HARMONICS + 1)], STEADY, axis=0)
    return max(_mean_height(steady, mains) for mains in MAINS)


def _mean_height(power: Power, mains: int) -> float:
    """Return the mean height of the highest lines above the median of the 4 to 8 Hz on both sides, in dB."""
    heights = []
    for line in range(mains, mains * (HARMONICS + 1), mains):
        around = np.concatenate((power[line - 8 : line - 3], power[line + 4 : line + 9]))
        heights.append(10 * np.log10((power[line - 1 : line + 2].max() + 1) / (np.median(around) + 1)))
    return float(np.maximum(0, np.sort(heights)[-HIGHEST:]).mean())


def _spectra(samples: Samples, size: int, step: int) -> Power:
    """Return the power of windows of `size` samples, (windows, size // 2 + 1); a sine of amplitude 1 has about 1."""
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    window = np.hanning(size).astype(np.float32)
    shaped = (windows - padded.mean(dtype=np.float64).astype(np.float32)) * window
    return np.asarray(np.abs(np.fft.rfft(shaped, axis=1) * (2 / window.sum())) ** 2, np.float64)


def count_dropouts(samples: Samples) -> float:
    """Return the number of gaps of digital silence amid sound, a minute."""
    quiet = np.concatenate(([False], np.abs(samples.astype(np.int32)) <= ZERO, [False]))
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    kept = (ends - starts >= GAP[0]) & (ends - starts <= GAP[1])
    amid = [_is_loud(samples[max(0, a - BLOCK) : a]) and _is_loud(samples[b : b + BLOCK])
            for a, b in zip(starts[kept], ends[kept], strict=True)]  # fmt: skip
    return sum(amid) * 60 * RATE / max(1, len(samples))


def _is_loud(samples: Samples) -> bool:
    """Return whether there is a sound in these samples."""
    return len(samples) == BLOCK and bool(
        _decibels((samples.astype(np.float64) / FULL).var(keepdims=True))[0] > AMID_DB
    )
