"""From sound to the features that the two audio encoders take.

In: a `Wave` of any rate and any number of channels. Out: 16 kHz mono, cut into chunks of equal length, and of each
chunk Whisper's log-mel and the Kaldi filter bank of BEATs. Both count 100 frames a second.

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
BLOCK = 30 * RATE  # samples computed at a time, so that memory does not grow with the sound
MAX_CHANNELS = 32  # more of them are samples of an array that is laid the wrong way round
# Mean and twice the deviation of the filter bank over AudioSet, as BEATs was trained.
FBANK_MEAN, FBANK_SPREAD = 15.41663, 2 * 6.55582


def mono16k(wave: Wave) -> np.ndarray:
    """The sound as float32 (samples,) at 16 kHz: mean of the channels, resampled by soxr at its high quality.

    ValueError for an empty sound, samples of another type, channels laid last, a rate below 1 and samples that are
    no numbers.
    """
    import soxr

    samples = _checked(wave)
    scale = np.float32(1 / 32_768 if samples.dtype == np.int16 else 1)
    mono: np.ndarray = np.atleast_2d(samples.astype(np.float32, copy=False)).mean(axis=0) * scale
    if wave.rate == RATE:
        return mono
    expected = -(-mono.size * RATE // wave.rate)  # the original pads or cuts to this
    resampled = soxr.resample(mono, wave.rate, RATE, quality="HQ")[:expected]
    return np.pad(resampled, (0, expected - resampled.size))


def chunks(samples: np.ndarray, seconds: int) -> Tensor:
    """16 kHz mono (samples,) -> float32 (N, S) of `seconds` each, the last one padded with silence."""
    size = seconds * RATE
    count = -(-samples.size // size)
    return torch.from_numpy(np.pad(samples, (0, count * size - samples.size)).reshape(count, size))


def log_mel(chunks_NS: Tensor, bins: int) -> Tensor:
    """Log-mel of Whisper: (N, S) -> float32 (N, bins, S / 160), cut off at 10^-8 of each chunk's own peak."""
    return torch.cat([_log_mel(some_NS, _whisper_filters(bins)) for some_NS in _blocks(chunks_NS)])


def fbank(chunks_NS: Tensor, bins: int = 128) -> Tensor:
    """Normalised filter bank of BEATs: (N, S) -> float32 (N, (S - 400) // 160 + 1, bins), 25 ms frames every 10 ms."""
    return torch.cat([_fbank(some_NS, _kaldi_filters(bins)) for some_NS in _blocks(chunks_NS)])


def _checked(wave: Wave) -> np.ndarray:
    samples = np.asarray(wave.samples)
    if samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise ValueError(f"a sound of {samples.dtype} samples; give floats in [-1, 1] or int16")
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"a sound of shape {samples.shape} holds none; give (samples,) or (channels, samples)")
    if samples.ndim == 2 and len(samples) > MAX_CHANNELS:
        raise ValueError(f"a sound of {len(samples)} channels of {samples.shape[1]}; give (channels, samples): turn it")
    if wave.rate < 1:
        raise ValueError(f"a sound at {wave.rate} Hz; give the rate of its samples")
    if bad := samples.size - int(np.isfinite(samples).sum()):
        raise ValueError(f"{bad} of {samples.size} samples are NaN or infinite; repair the sound or leave it out")
    return samples


def _blocks(chunks_NS: Tensor) -> Iterator[Tensor]:
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
    """(F, M) triangles on Kaldi's mel scale from 20 Hz; written out, since libraries warn of the one that is empty."""
    mel_F = 1127 * np.log1p(np.arange(KALDI_FFT // 2 + 1) * RATE / KALDI_FFT / 700)
    edges = np.linspace(1127 * np.log1p(20 / 700), mel_F[-1], bins + 2)
    width = edges[1] - edges[0]
    filters_FM = np.clip(1 - np.abs(mel_F[:, None] - edges[1:-1]) / width, 0, None)
    return torch.from_numpy(filters_FM.astype(np.float32))
