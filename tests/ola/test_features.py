"""Features of sound: equal to transformers' extractors, also for odd and broken sounds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from ola.features import FBANK_MEAN, FBANK_SPREAD, chunks, fbank, log_mel, mono16k
from ola.prompt import Wave


def tone(seconds: float, rate: int, pitch: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def whisper(samples: np.ndarray, bins: int, seconds: int) -> np.ndarray:
    extractor = WhisperFeatureExtractor(feature_size=bins, chunk_length=seconds)
    features: np.ndarray = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features
    return features


def kaldi(samples: np.ndarray, bins: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of the filters is empty, as in the original
        filters = mel_filter_bank(257, bins, 20, 8000, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    window = window_function(400, "povey", periodic=False)
    features = spectrogram(
        samples * 2.0**15,
        window,
        400,
        160,
        512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    )
    return (features.T - FBANK_MEAN) / FBANK_SPREAD


@pytest.mark.parametrize("bins", [80, 128])
def test_log_mel_is_whispers(bins: int) -> None:
    samples = noise(40_000)
    ours = log_mel(chunks(samples, 4), bins)
    assert ours.shape == (1, bins, 400)
    np.testing.assert_allclose(ours, whisper(samples, bins, 4), atol=1e-5)


def test_each_chunk_has_its_own_peak() -> None:
    samples = np.concatenate([noise(32_000), 1e-3 * noise(32_000)])
    both = log_mel(chunks(samples, 2), 128)
    np.testing.assert_allclose(both[1:], whisper(samples[32_000:], 128, 2), atol=1e-5)


@pytest.mark.parametrize("samples", [400, 4000, 32_000])
def test_fbank_is_kaldis(samples: int) -> None:
    wave = noise(samples) + 0.05  # Kaldi removes the mean of each frame
    ours = fbank(torch.from_numpy(wave[None]))
    assert ours.shape == (1, (samples - 400) // 160 + 1, 128)
    np.testing.assert_allclose(ours[0], kaldi(wave, 128), atol=1e-4)


def test_silence_has_the_lowest_value_and_no_nan() -> None:
    features = fbank(torch.zeros(1, 16_000))
    assert features.unique().tolist() == pytest.approx([(np.log(2.0**-23) - FBANK_MEAN) / FBANK_SPREAD])
    assert log_mel(torch.zeros(1, 16_000), 128).isfinite().all()


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (31_999, 1), (32_000, 1), (32_001, 2)])
def test_the_last_chunk_is_padded_with_silence(samples: int, count: int) -> None:
    cut = chunks(np.ones(samples, np.float32), 2)
    assert cut.shape == (count, 32_000)
    assert cut.flatten()[:samples].min() == 1
    assert not cut.flatten()[samples:].any()


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_any_rate_becomes_16k(rate: int) -> None:
    ours = mono16k(Wave(tone(0.5, rate), rate))
    assert ours.dtype == np.float32
    assert ours.shape == (8000,)
    np.testing.assert_allclose(ours[1000:-1000], tone(0.5, 16_000)[1000:-1000], atol=2e-3)


def test_a_tenth_of_a_second_makes_one_chunk() -> None:
    assert mono16k(Wave(tone(0.1, 44_100), 44_100)).shape == (1600,)
    assert chunks(mono16k(Wave(tone(0.1, 8_000), 8_000)), 30).shape == (1, 480_000)


def test_twenty_minutes_make_forty_chunks() -> None:
    minute = np.tile(tone(1, 8_000), 60)
    assert chunks(mono16k(Wave(np.tile(minute, 20), 8_000)), 30).shape == (40, 480_000)


def test_channels_are_averaged() -> None:
    left, right = noise(1600), tone(0.1, 16_000)
    np.testing.assert_allclose(mono16k(Wave(np.stack([left, right]))), (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(mono16k(Wave(left[None])), left)


def test_integers_are_scaled() -> None:
    assert mono16k(Wave(np.array([-32_768, 0, 16_384], np.int16))).tolist() == [-1.0, 0.0, 0.5]
    assert mono16k(Wave(np.array([0.5], np.float64))).dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "rate", "says"),
    [
        (np.zeros(0, np.float32), 16_000, r"got \(0,\)"),
        (np.zeros((2, 0), np.float32), 16_000, r"got \(2, 0\)"),
        (np.zeros((1, 1, 8), np.float32), 16_000, r"got \(1, 1, 8\)"),
        (np.zeros((4800, 2), np.float32), 16_000, r"shape \(channels, samples\), got \(4800, 2\)"),
        (np.zeros(8, np.float32), 0, "got 0"),
        (np.zeros(8, np.float32), -16_000, "got -16000"),
        (np.zeros(8, np.complex64), 16_000, "complex64"),
        (np.zeros(8, np.int32), 16_000, "int32"),
        (np.array([0.0, np.nan, np.inf, -np.inf]), 16_000, "3 of 4 that are NaN"),
    ],
)
def test_bad_sound_is_named(samples: np.ndarray, rate: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mono16k(Wave(samples, rate))
