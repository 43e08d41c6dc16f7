"""Benchmark mel and filter bank of 30 s of sound against transformers' mel of Whisper alone.

On one core, as in a data loader's worker.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from tests.bench.measure import Figure, Target, interleaved
from tests.bench.videos import Videos

SECONDS = 30
RATE = 16_000
BINS = 128
ROUNDS = 25
WARM_UP = 3


def measure(videos: Videos) -> Iterator[Figure]:
    """One row; our milliseconds are its note."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield _features()
    finally:
        torch.set_num_threads(threads)


def _features() -> Figure:
    from transformers import WhisperFeatureExtractor

    from ola.features import chunks, fbank, log_mel

    sound = (0.1 * np.random.default_rng(0).standard_normal(SECONDS * RATE)).astype(np.float32)
    extractor = WhisperFeatureExtractor(feature_size=BINS)

    def ours() -> None:
        cut = chunks(sound, SECONDS)
        log_mel(cut, BINS)
        fbank(cut, BINS)

    def theirs() -> None:
        extractor(sound, sampling_rate=RATE, return_tensors="pt")

    interleaved(WARM_UP, ours, theirs)
    times, others = interleaved(ROUNDS, ours, theirs)
    note = f"{1e3 * statistics.median(times):.0f} ms for both on one core"
    what, against = f"mel and fbank of {SECONDS} s, {BINS} bins", "one call of WhisperFeatureExtractor: mel alone"
    return Figure("features", what, against, "s", times, others, "time", Target("≤", 3.0), note)
