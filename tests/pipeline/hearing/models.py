"""Models for tests of what is heard: a finetuned BEATs with small random weights, and made sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ola.beats import Beats
from ola.config import BeatsConfig
from ola.weights import BEATS, BEATS_SIZES, released_name
from pipeline.hearing.classes import read_classes
from pipeline.media.audio import RATE

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "embed_dim": 16,
    "conv_pos": 16, "conv_pos_groups": 4,
}  # fmt: skip


def small_beats(seed: int = 0) -> Beats:
    """A BEATs of random weights with the released head of 527 classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Beats(BeatsConfig(**SIZES)).eval()


def checkpoint_of(beats: Beats) -> dict[str, Any]:
    """The contents of the released file of a finetuned BEATs: its classes are not in AudioSet's order."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in beats.state_dict().items():
        theirs = released_name(f"speech_encoder.beats.{name}").removeprefix(BEATS)
        tensors[theirs] = tensor.clone()
        if theirs.endswith(".weight_v"):
            tensors[theirs.removesuffix("v") + "g"] = tensor.norm(dim=(0, 1), keepdim=True)
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    tensors[table.format(1)] = tensors[table.format(0)].clone()
    cfg = {BEATS_SIZES[name]: value for name, value in SIZES.items()} | {
        "predictor_class": 527,
        "finetuned_model": True,
    }
    labels = dict(enumerate(reversed(list(read_classes()))))
    return {"cfg": cfg, "model": tensors, "label_dict": labels}


def save_beats(file: Path, seed: int = 0) -> Path:
    """Write a small finetuned BEATs as the released ones are written."""
    torch.save(checkpoint_of(small_beats(seed)), file)
    return file


def made_sound(kind: str, seconds: float, seed: int) -> NDArray[np.float32]:
    """A made sound of 16 kHz, 0.4 of full scale, without a hard edge: `chord`, `noise`, `beep` or `silence`."""
    rng, time = np.random.default_rng([seed, 24]), np.arange(round(seconds * RATE)) / RATE
    match kind:
        case "chord":
            wave = _chords(rng, time)
        case "noise":
            wave = rng.uniform(-1, 1, len(time))
        case "beep":
            wave = np.sin(2 * np.pi * 1000 * time)
        case _:
            wave = np.zeros(len(time))
    edge = np.minimum(1, np.minimum(time, seconds - time) / 0.01)
    return np.asarray(0.4 * wave * edge, np.float32)


def _chords(rng: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triads of decaying harmonics, two a second, as of a keyboard."""
    wave, root = np.zeros(len(time)), 220 * 2 ** (rng.integers(12) / 12)
    for number in range(int(time[-1] / 0.5) + 1):
        since = time - number / 2
        sounding = (since >= 0) & (since < 0.5)
        for semitones in (0, 4, 7):
            pitch = root * 2 ** ((semitones + (0, 5, 7, 0)[number % 4]) / 12)
            for harmonic in range(1, 5):
                tone = np.sin(2 * np.pi * pitch * harmonic * since) / harmonic
                wave += np.where(sounding, tone * np.exp(-2.5 * since), 0)
    return np.asarray(wave / np.abs(wave).max())
