"""What the figures of a GPU share: the card's limits, sizes of the work, a model of random weights, and clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ola.config import OlaConfig
from ola.model import OlaForConditionalGeneration
from stages.mfu import peak_flops
from tests.ola import tiny

# Bytes a second, from the vendors' data sheets.
BANDWIDTHS = {"H100": 3.35e12, "H200": 4.8e12, "A100": 2.0e12, "L40S": 0.864e12}
Facts = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """A card's name, its dense bfloat16 FLOP/s and bytes a second; None if not known."""

    card: str
    flops: float | None = None
    bandwidth: float | None = None


def limits_of(device: str) -> Limits:
    """Return the limits of this machine's card, or of none."""
    if device == "cpu":
        return Limits("CPU")
    name = torch.cuda.get_device_name()
    bandwidth = next((found for card, found in BANDWIDTHS.items() if card in name), None)
    return Limits(name, peak_flops("cuda"), bandwidth)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the model and of the work. decoder, trained: settings of `OlaConfig`, the latter for training.

    rows: (rows of a batch, whether their lengths differ), the most telling first. prompt: positions of each.
    lengths: of prompts that are read alone. clip: positions that `questions` prompts share. frame: height, width.
    """

    decoder: dict[str, Any]
    trained: dict[str, Any]
    rows: tuple[tuple[int, bool], ...]
    prompt: int
    new: int
    lengths: tuple[int, ...]
    unseen: range
    clip: int
    questions: int
    frames: int
    frame: tuple[int, int]
    chunks: int
    train_frames: int
    train_sound_s: int
    sequence: int
    steps: int
    rounds: int = 3


RELEASED = Sizes(
    decoder=tiny.RELEASED_DECODER,
    trained=tiny.RELEASED_DECODER
    | {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
    },
    rows=((8, True), (32, False), (32, True), (1, False), (8, False), (128, True), (128, False)),
    prompt=2048,
    new=64,
    lengths=(2048, 8192, 16_384),
    unseen=range(4001, 4017),
    clip=5733,
    questions=12,
    frames=64,
    frame=(448, 448),
    chunks=16,
    train_frames=48,
    train_sound_s=30,
    sequence=16_384,
    steps=8,
)
TINY = Sizes(
    decoder={},
    trained={"limits": {"video_max": 448, "video_min": 32}},
    rows=((2, True), (3, False)),
    prompt=24,
    new=4,
    lengths=(32, 64),
    unseen=range(33, 36),
    clip=100,
    questions=3,
    frames=2,
    frame=(64, 96),
    chunks=2,
    train_frames=1,
    train_sound_s=2,
    sequence=64,
    steps=2,
    rounds=1,
)


@dataclass
class World:
    """A device, its limits, and models that are made when they are needed."""

    sizes: Sizes
    limits: Limits
    device: str
    layers: int | None = None
    is_tiny: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_tiny = self.sizes is TINY

    @cached_property
    def model(self) -> OlaForConditionalGeneration:
        """Return the model that answers, in bfloat16."""
        return filled(self.config(self.sizes.decoder), self.device)

    def config(self, settings: dict[str, Any]) -> OlaConfig:
        fewer = {"num_hidden_layers": self.layers} if self.layers else {}
        return tiny.config(**settings | fewer) if self.is_tiny else OlaConfig(**settings | fewer)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the best of some rounds, after one that warms up."""
        return min([self.once(work) for _ in range(self.sizes.rounds + 1)][1:])

    def once(self, work: Callable[[], object]) -> float:
        """Return the seconds of one round."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def start_peak(self) -> int:
        """Begin to look for the peak of the memory; return the bytes that are taken now."""
        if self.device != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak(self, start: int) -> float | None:
        """Return the GB that were taken at most since `start_peak`, beside those before; None on a CPU."""
        return (torch.cuda.max_memory_allocated() - start) / 1e9 if self.device == "cuda" else None


def share_of(value: float, limit: float | None) -> float | None:
    """Return value / limit; None if the limit is not known."""
    return None if limit is None else value / limit


def filled(config: OlaConfig, device: str) -> OlaForConditionalGeneration:
    """Return a model of small random numbers, which are made where they stay."""
    with torch.device("meta"):
        model = OlaForConditionalGeneration(config)
    beats = model.speech_encoder.beats
    model.to_empty(device=device).bfloat16()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.02)
    with torch.device(device):
        model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    assert beats.norm.weight.dtype == torch.float32
    model.eval()
    return model
