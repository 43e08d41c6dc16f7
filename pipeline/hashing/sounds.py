"""Hash the sound of a clip at its landmarks: moments when the spectrum rises most.

A landmark's hash is the signs of low DCT coefficients of the log spectrum around it, over three lengths of time (a bank
of tempos): a sound that is played faster by a quarter has one length in common with the original. Spectral shape that
does not change within the window (a codec's cut-off, an equaliser, a voice's timbre) has no part in the hash.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.hashing.pictures import SIDE, Hashes, pack_signs
from pipeline.media.audio import RATE

WINDOW, HOP = 1024, 256  # samples of a spectrum, and between two
BANDS, LOWEST, HIGHEST = 32, 150.0, 3600.0  # Hz; codecs at low bit rates cut off what is above
RANGE = 9.0  # natural logarithm of the power ratio (39 dB) below the loudest band nearby that counts as silence
NEARBY = 1.5  # seconds before and after
SECONDS = 2.0  # around a landmark
TEMPOS = (0.8944, 1.0, 1.118)  # 1.118 ** 2 is 1.25
APART = 0.24  # least seconds between two landmarks
QUIET = 0.25  # standard deviation of the log spectrum (natural logarithm) up to which a window is silence or hum
Spectrum = NDArray[np.float64]


def log_spectrum(samples: NDArray[np.int16]) -> Spectrum:
    """Return the logarithms of the power in each band, (times, BANDS)."""
    if len(samples) < WINDOW:
        return np.zeros((0, BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    bands = np.log(np.maximum(power @ _band_weights().T, 1e3))
    reach = round(NEARBY * RATE / HOP)
    loudest = _highest(bands.max(1), reach)
    return np.asarray(np.maximum(bands, loudest[:, None] - RANGE))


def _highest(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Return the highest of each value and its `reach` neighbours on both sides."""
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1))


@lru_cache(maxsize=1)
def _band_weights() -> NDArray[np.float64]:
    """Return the weights of overlapping triangular bands, evenly spaced in log frequency, (BANDS, bins)."""
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 2)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.clip(np.minimum(rise, fall), 0, None)
    return np.asarray(weights / np.maximum(weights.sum(1, keepdims=True), 1e-9))


def find_landmarks(spectrum: Spectrum) -> NDArray[np.int64]:
    """Return the times (in hops) when the spectrum rises most, at least APART seconds from each other."""
    if len(spectrum) < 3:
        return np.zeros(0, np.int64)
    smooth = _smooth(spectrum, 5)
    rise = np.round(_smooth(np.clip(smooth[2:] - smooth[:-2], 0, None).sum(1)[:, None], 5)[:, 0], 6)
    highest = _highest(rise, round(APART * RATE / HOP))
    return np.flatnonzero((rise == highest) & (rise > 0)) + 1


def _smooth(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    sums = np.cumsum(np.pad(values, ((width // 2 + 1, width // 2), (0, 0)), mode="edge"), axis=0)
    return (sums[width:] - sums[:-width]) / width


def hash_sound(samples: NDArray[np.int16]) -> tuple[NDArray[np.int64], Hashes]:
    """Return the landmarks in ms and their hashes, (landmarks, tempos); none where nothing is to be heard."""
    spectrum = log_spectrum(samples)
    times = find_landmarks(spectrum)
    if not len(times):
        return times, np.zeros((0, len(TEMPOS)), np.uint64)
    windows = [_cut_windows(spectrum, times, SECONDS * tempo) for tempo in TEMPOS]
    hashes = np.stack([_hash_windows(each) for each in windows], axis=1)
    is_lively = windows[TEMPOS.index(1.0)].std(1).mean(1) > QUIET
    return times[is_lively] * HOP * 1000 // RATE, hashes[is_lively]


def _cut_windows(spectrum: Spectrum, times: NDArray[np.int64], seconds: float) -> NDArray[np.float64]:
    """Return the spectrum around each time, (times, hops, BANDS)."""
    half = round(seconds / 2 * RATE / HOP)
    padded = np.pad(spectrum, ((half, half), (0, 0)), mode="edge")
    return np.stack([padded[time : time + 2 * half] for time in times])


def _hash_windows(windows: NDArray[np.float64]) -> Hashes:
    values = _time_cosines(windows.shape[1]) @ windows @ _band_cosines().T
    return pack_signs(values.reshape(len(windows), SIDE * SIDE))


@lru_cache(maxsize=8)
def _time_cosines(size: int) -> NDArray[np.float64]:
    angles = np.pi * np.outer(np.arange(1, SIDE + 1), np.arange(size) + 0.5) / size
    return np.asarray(np.cos(angles) / size)


@lru_cache(maxsize=1)
def _band_cosines() -> NDArray[np.float64]:
    angles = np.pi * np.outer(np.arange(SIDE), np.arange(BANDS) + 0.5) / BANDS
    return np.asarray(np.cos(angles) / BANDS)
