"""Requests of all kinds to a tiny Ola, with made media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ola.generation import Ola
from ola.prompt import Picture, Request, Wave


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def clip(frames: int, seed: int = 0) -> list[Picture]:
    return [picture(64, 96, seed=100 * seed + frame) for frame in range(frames)]


def wave(seconds: float, seed: int = 0) -> Wave:
    noise = np.random.default_rng(seed).standard_normal(int(16_000 * seconds))
    return Wave((noise / 10).astype(np.float32))


def mixed() -> list[Request]:
    """Requests of all kinds, prompts of 30 to 500 positions, answers of 3 to 40 tokens."""
    requests = [
        Request("Why?"),
        Request("Say something about the sea, the wind and the thin grass between them. " * 3),
        Request("And then?", history=[("What was in the tin?", "An ant.")], system=""),
        Request("What is this?", images=[picture(96, 64)]),
        Request("What differs?", images=[picture(32, 32), picture(64, 160), picture(100, 33)]),
        Request("What happens?", video=clip(2)),
        Request("What happens in the end?", video=clip(4, seed=1)),
        Request("What is heard?", sounds=[wave(1)]),
        Request("Which is louder?", sounds=[wave(2, seed=1), wave(3.1, seed=2)]),
        Request("What is said, and who says it?", video=clip(3, seed=2), sounds=[wave(3, seed=3)]),
        Request(spoken_question=wave(1.5, seed=4)),
        Request(images=[picture(64, 64, seed=5)], spoken_question=wave(0.7, seed=5)),
    ]
    steps = [5, 40, 12, 25, 8, 3, 30, 17, 33, 21, 10, 28]
    return [replace(request, max_new_tokens=n) for request, n in zip(requests, steps, strict=True)]


def decoded(ola: Ola, ids: Sequence[int]) -> str:
    return str(ola.processor.tokenizer.decode(list(ids), skip_special_tokens=True))
