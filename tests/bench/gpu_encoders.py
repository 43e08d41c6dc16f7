"""The encoders of pictures and sound on a GPU, and what BEATs' convolutions cost in true float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from unittest.mock import patch

import torch

from ola.memory import sound_bytes, visual_bytes
from ola.prompt import Sound, Visual
from tests.bench.gpu_world import Facts, World


def measure(world: World) -> Iterator[Facts]:
    """Yield a figure for the vision tower, for a whole clip, for the sound encoders, and for BEATs' convolutions."""
    with torch.inference_mode():
        yield from _vision(world)
        yield from _sound(world)
        yield _convolutions(world)


def _vision(world: World) -> Iterator[Facts]:
    model, sizes = world.model, world.sizes
    height, width = sizes.frame
    frames = torch.randint(0, 256, (sizes.frames, 3, height, width), dtype=torch.uint8)
    on_device = frames.to(world.device)
    took = world.seconds(lambda: model.vision_tower([on_device]))
    yield {"encoder": "vision tower", "frame": f"{width}x{height}", "frames_per_s": sizes.frames / took}
    start = world.start_peak()
    took = world.seconds(lambda: model.encode_visuals([Visual("video", (frames,), "")]))
    reckoned = visual_bytes(model.config, model.dtype, [(sizes.frames, height, width)], world.device)
    yield {
        "encoder": "vision tower and projector",
        "frames_per_s": sizes.frames / took,
        "peak_gb": world.peak(start),
        "reckoned_gb": reckoned / 1e9,
    }


def _sound(world: World) -> Iterator[Facts]:
    model, chunks, seconds = world.model, world.sizes.chunks, world.model.config.audio_chunk_seconds
    mel = torch.randn(chunks, model.config.whisper.num_mel_bins, 100 * seconds)
    fbank = torch.randn(chunks, 100 * seconds - 2, model.config.beats.num_mel_bins)
    start = world.start_peak()
    took = world.seconds(lambda: model.encode_sounds([Sound(mel, fbank, "")]))
    yield {
        "encoder": "Whisper, BEATs and projector",
        "seconds_per_s": chunks * seconds / took,
        "peak_gb": world.peak(start),
        "reckoned_gb": sound_bytes(model.config, model.dtype, chunks) / 1e9,
    }


def _convolutions(world: World) -> Facts:
    """Time BEATs in float32 and with cuDNN's default, and compare what they give."""
    config, beats, chunks = world.model.config, world.model.speech_encoder.beats, world.sizes.chunks
    fbank = torch.randn(chunks, 100 * config.audio_chunk_seconds - 2, config.beats.num_mel_bins, device=world.device)
    exact, took = beats(fbank), world.seconds(lambda: beats(fbank))
    with patch("ola.beats.exact_convolutions", nullcontext):
        rounded, default = beats(fbank), world.seconds(lambda: beats(fbank))
    apart = float((exact - rounded).norm() / exact.norm())
    return {"encoder": "BEATs", "float32_ms": took * 1e3, "default_ms": default * 1e3, "relative_difference": apart}
