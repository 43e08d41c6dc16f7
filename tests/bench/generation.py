"""Benchmark generation: many requests at once against one by one, and shared media encoded once against repeatedly.

A model of five million random parameters, whose pictures have sides of about 96 pixels; the rows at the released sizes
are for information, since a CPU then spends its time on the same arithmetic on both sides. Pictures and sounds are
prepared beforehand, and both sides must come to the same end: equal token ids, equal embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Request, Sound, Visual, Wave
from tests.bench.measure import Figure, Target, interleaved
from tests.bench.videos import Videos
from tests.ola import tiny

SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "audio_chunk_seconds": 4,
    "vision": {
        "hidden_size": 128,
        "intermediate_size": 478,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 512,
    },
    "whisper": {
        "num_mel_bins": 80,
        "d_model": 128,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 512,
    },
    "beats": {
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "embed_dim": 64,
        "conv_pos": 32,
        "conv_pos_groups": 4,
    },
}
SMALL = {"image_high": 192, "image_low": 96, "video_max": 96, "video_min": 96}
RELEASED: dict[str, int] = {}
SMALL_FRAMES = ((96, 96), (96, 128), (64, 128), (128, 128))
RELEASED_FRAMES = ((288, 288), (256, 320), (320, 480), (448, 448))
NEW_TOKENS = 32
CLIPS = 8
FRAMES = 6
ROUNDS = 5
WARM_UP = 1


class World:
    """A model, and random pictures and sounds for it."""

    def __init__(self, limits: dict[str, int], side: int) -> None:
        """limits: of `OlaConfig`. side: of a picture, in pixels."""
        self.model = tiny.model(limits=limits, **SIZES)
        self.processor = OlaProcessor(tiny.tokenizer(), self.model.config)
        self.side, self.dice = side, np.random.default_rng(0)

    def picture(self, wider: int = 0) -> np.ndarray:
        return self.dice.integers(0, 256, (self.side, self.side + wider, 3), dtype=np.uint8)

    def video(self, frames: int) -> Visual:
        return self.processor.video([self.picture() for _ in range(frames)])

    def sound(self) -> Sound:
        return self.processor.sound(Wave(self.dice.normal(0, 0.1, 48_000).astype(np.float32)))

    def mixed(self) -> list[Request]:
        """Four each of text, image, video, and video with sound, of different lengths; greedy."""
        requests: list[Request] = []
        for n in range(4):
            requests += [
                Request("Tell me about the sea. " * (1 + 3 * n)),
                Request("What is this?", images=[self.processor.image(self.picture(32 * n))]),
                Request("What happens?", video=self.video(FRAMES)),
                Request("What is it about?", video=self.video(FRAMES - n), sounds=[self.sound()]),
            ]
        return [replace(request, max_new_tokens=NEW_TOKENS) for request in requests]


def measure(videos: Videos) -> Iterator[Figure]:
    """The rows of batches, of shared clips, and of frames."""
    yield _batch("pictures of 96²", SMALL, 96, Target("≥", 4.0))
    yield _batch("pictures of 288²", RELEASED, 288)
    yield _shared_clips()
    yield _frames("about 96²", SMALL_FRAMES, Target("≥", 1.5))
    yield _frames("288² to 448²", RELEASED_FRAMES)


def _batch(what: str, limits: dict[str, int], side: int, target: Target | None = None) -> Figure:
    world = World(limits, side)
    requests = world.mixed()

    def ours() -> list[tuple[int, ...]]:
        # A new one each time: it would keep the embeddings.
        return [answer.tokens for answer in Ola(world.model, world.processor).generate(requests)]

    end_ids = sorted(Ola(world.model, world.processor).end_ids)

    def theirs() -> list[tuple[int, ...]]:
        return [_plain_generate(world.model, world.processor, request, end_ids) for request in requests]

    assert ours() == theirs()
    interleaved(WARM_UP, ours, theirs)
    times, others = interleaved(ROUNDS, ours, theirs)
    what = f"{len(requests)} mixed requests, {what}, greedy {NEW_TOKENS} tokens: Ola.generate"
    against = "the same one by one: encoders, then transformers' generate(inputs_embeds=…)"
    note = f"{len(requests) * NEW_TOKENS / min(times):.0f} tokens/s at best, all included"
    return Figure("generation", what, against, "s", times, others, "speed", target, note)


def _plain_generate(
    model: OlaForConditionalGeneration, processor: OlaProcessor, request: Request, end_ids: list[int]
) -> tuple[int, ...]:
    prompt = processor.prompt(request)
    with torch.inference_mode():
        embeds = model.splice(prompt, model.encode([prompt])[0])[None]
    ids = model.generate(  # type: ignore[misc]
        inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]), do_sample=False,
        max_new_tokens=request.max_new_tokens, eos_token_id=end_ids, pad_token_id=0,
    )  # fmt: skip
    return tuple(ids[0].tolist())


def _shared_clips() -> Figure:
    world = World(SMALL, 96)
    clips = [(world.video(FRAMES), world.sound()) for _ in range(CLIPS)]
    asked = [
        Request(text, video=video, sounds=[sound], max_new_tokens=4)
        for video, sound in clips
        for text in ("Who is there?", "What is said?", "Where does it happen?")
    ]
    rounds = [_encoder_seconds(world, asked) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    times, others = zip(*rounds, strict=True)
    what = f"encoder seconds of 3 questions on each of {CLIPS} clips with sound: Ola.generate"
    return Figure("generation", what, "encoding anew for each question", "s", times, others, "speed", Target("≥", 2.0))


def _encoder_seconds(world: World, asked: Sequence[Request]) -> tuple[float, float]:
    """All questions in one call, then each by an Ola that has encoded nothing yet."""
    together, *alone = (Ola(world.model, world.processor) for _ in range(1 + len(asked)))
    answers = together.generate(asked)
    singly = [ola.generate([request])[0] for ola, request in zip(alone, asked, strict=True)]
    assert [answer.tokens for answer in answers] == [answer.tokens for answer in singly]
    return together.encodings.seconds, sum(ola.encodings.seconds for ola in alone)


def _frames(what: str, sizes: Sequence[tuple[int, int]], target: Target | None = None) -> Figure:
    model, dice = tiny.model(**SIZES), np.random.default_rng(0)
    frames = [
        Visual("video", (torch.from_numpy(dice.integers(0, 256, (1, 3, height, width), dtype=np.uint8)),), f"{n}")
        for n in range(8)
        for height, width in sizes
    ]

    @torch.inference_mode()
    def ours() -> list[Tensor]:
        return model.encode_visuals(frames)

    @torch.inference_mode()
    def theirs() -> list[Tensor]:
        return [model.encode_visuals([frame])[0] for frame in frames]

    for one, other in zip(ours(), theirs(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    times, others = interleaved(ROUNDS, ours, theirs)
    what = f"{len(frames)} frames of {len(sizes)} sizes, {what}: one call of encode_visuals"
    return Figure("generation", what, "a call for each frame", "s", times, others, "speed", target)
