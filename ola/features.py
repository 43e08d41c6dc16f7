"""Compute the input features of the two audio encoders.

In: a `Wave` of any rate and number of channels. Out: 16 kHz mono in chunks of equal length, and for each chunk
Whisper's log-mel and the Kaldi filter bank of BEATs, both at 100 frames per second.

Shapes: N chunks, S samples, T frames, F bins of frequency, M mel bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ola.prompt import Wave

RATE = 16_000
FRAME, HOP = 400, 160  # 25 ms and 10 ms
KALDI_FFT = 512
BLOCK = 30 * RATE  # samples per pass, so that memory does not grow with the sound
MAX_CHANNELS = 32  # an array with more channels most likely has its axes swapped
# Mean and twice the standard deviation of the filter bank over AudioSet, from the training of BEATs.
FBANK_MEAN, FBANK_SPREAD = 15.41663, 2 * 6.55582


def mono16k(wave: Wave) -> np.ndarray:
    """Convert a sound to float32 (samples,) at 16 kHz: the mean of the channels, resampled by soxr in high quality.

    Raises ValueError for an empty sound, another sample type, channels on the last axis, a rate below 1, and samples
    that are not finite.
    """
    import soxr

    samples = _check_wave(wave)
    scale = np.float32(1 / 32_768 if samples.dtype == np.int16 else 1)
    mono: np.ndarray = np.atleast_2d(samples.astype(np.float32, copy=False)).mean(axis=0) * scale
    if wave.rate == RATE:
        return mono
    expected = -(-mono.size * RATE // wave.rate)  # the original pads or cuts to this length
    resampled = soxr.resample(mono, wave.rate, RATE, quality="HQ")[:expected]
    return np.pad(resampled, (0, expected - resampled.size))


def chunks(samples: np.ndarray, seconds: int) -> Tensor:
    """Split 16 kHz mono (samples,) into float32 chunks (N, S) of `seconds` each; the last is padded with silence."""
    size = seconds * RATE
    count = -(-samples.size // size)
    return torch.from_numpy(np.pad(samples, (0, count * size - samples.size)).reshape(count, size))


def log_mel(chunks_NS: Tensor, bins: int) -> Tensor:
    """Compute Whisper's log-mel: (N, S) to float32 (N, bins, S / 160), clipped at 10^-8 of each chunk's peak."""
    return torch.cat([_log_mel(some_NS, _whisper_filters(bins)) for some_NS in _split_blocks(chunks_NS)])


def fbank(chunks_NS: Tensor, bins: int = 128) -> Tensor:
    """Compute BEATs' normalised filter bank: (N, S) to float32 (N, (S - 400) // 160 + 1, bins), 25 ms every 10 ms."""
    return torch.cat([_fbank(some_NS, _kaldi_filters(bins)) for some_NS in _split_blocks(chunks_NS)])


def _check_wave(wave: Wave) -> np.ndarray:
    samples = np.asarray(wave.samples)
    if samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise ValueError(f"sound: expected floats in [-1, 1] or int16, got {samples.dtype}")
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"sound: expected shape (samples,) or (channels, samples), got {samples.shape}")
    if samples.ndim == 2 and len(samples) > MAX_CHANNELS:
        raise ValueError(f"sound: expected shape (channels, samples), got {samples.shape}; swap its axes")
    if wave.rate < 1:
        raise ValueError(f"sound: expected a rate in Hz, got {wave.rate}")
    if bad := samples.size - int(np.isfinite(samples).sum()):
        raise ValueError(f"sound: expected finite samples, got {bad} of {samples.size} that are NaN or infinite")
    return samples


def _split_blocks(chunks_NS: Tensor) -> Iterator[Tensor]:
    yield from chunks_NS.split(max(1, BLOCK // chunks_NS.shape[1]))


def _log_mel(wave_NS: Tensor, filters_MF: Tensor) -> Tensor:
    spectrum_NFT = torch.stft(wave_NS, FRAME, HOP, window=torch.hann_window(FRAME), return_complex=True)[..., :-1]
    mel_NMT = (filters_MF @ _power(spectrum_NFT)).clamp_(min=1e-10).log10_()
    return torch.maximum(mel_NMT, mel_NMT.amax((1, 2), keepdim=True) - 8.0).add_(4.0).div_(4.0)


def _fbank(wave_NS: Tensor, filters_FM: Tensor) -> Tensor:
    frames_NTS = (wave_NS * 32_768).unfold(1, FRAME, HOP)
    frames_NTS = frames_NTS - frames_NTS.mean(dim=2, keepdim=True)
    before_NTS = torch.cat((frames_NTS[..., :1], frames_NTS[..., :-1]), dim=2)
    window = torch.hann_window(FRAME, periodic=False).pow(0.85)  # Povey's
    spectrum_NTF = torch.fft.rfft((frames_NTS - 0.97 * before_NTS) * window, KALDI_FFT)
    mel_NTM = (_power(spectrum_NTF) @ filters_FM).clamp_(min=torch.finfo(torch.float32).eps).log_()
    return mel_NTM.sub_(FBANK_MEAN).div_(FBANK_SPREAD)


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


@lru_cache(maxsize=4)
def _whisper_filters(bins: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    filters_FM = mel_filter_bank(FRAME // 2 + 1, bins, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters_FM.T.astype(np.float32))


@lru_cache(maxsize=4)
def _kaldi_filters(bins: int) -> Tensor:
    """Return Kaldi's triangular mel filters (F, M) from 20 Hz; own code, since libraries warn about an empty filter."""
    mel_F = 1127 * np.log1p(np.arange(KALDI_FFT // 2 + 1) * RATE / KALDI_FFT / 700)
    edges = np.linspace(1127 * np.log1p(20 / 700), mel_F[-1], bins + 2)
    width = edges[1] - edges[0]
    filters_FM = np.clip(1 - np.abs(mel_F[:, None] - edges[1:-1]) / width, 0, None)
    return torch.from_numpy(filters_FM.astype(np.float32))
