"""Training steps on a GPU: a decoder of 1.5B shape with the full encoders, random weights, packed sequences.

Each sequence holds as many clips as fit 16k positions: one of 48 frames of 448x352 with 30 s of sound and an answer of
200 tokens. The decoder and both projectors are trained, activations are recomputed. The wait for data is the `loading`
bench's matter: one process decodes 7 such clips a second.

Measured on an H200 (torch 2.11) with steps of 8,421 positions; the first row is of an earlier release. In both the
decoder was in evaluation mode, where transformers does not recompute activations:

| way | tokens/s | MFU (target 45 %) | memory |
|---|---|---|---|
| autocast, a loop of attention over segments | 17,900 | 18.1 % | 36.4 GiB |
| FSDP2's bfloat16 on one rank, kernels of variable lengths | 20,500 | 20.8 % | 49.1 GiB |

Of a step in the first way the card was busy for 446 of 650 ms under the profiler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.distributed as dist

from ola.config import OlaConfig
from ola.geometry import sound_tokens, video_tokens
from ola.model import OlaForConditionalGeneration
from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt, Sound, Visual
from stages import parameters
from stages.mfu import utilisation
from tests.bench.gpu_world import Facts, World, filled

WIDTH, HEIGHT, TEXT, ANSWER = 448, 352, 300, 200
# As `stages.recipe.Phase`, which needs pydantic.
PHASE: Any = SimpleNamespace(
    name="bench", lr={"visual_projector": 1e-5, "speech_projector": 1e-5, "decoder": 1e-5}, weight_decay=0.0,
    betas=(0.9, 0.95), lora=None,
)  # fmt: skip


def measure(world: World) -> Iterator[Facts]:
    """Yield tokens a second, MFU and the peak of the memory of the best step."""
    start = world.start_peak()
    model = filled(world.config(world.sizes.trained), world.device)
    model.config._attn_implementation = "packed"
    one = clip(model.config, world.sizes.train_frames, world.sizes.train_sound_s)
    prompts = [one] * max(1, world.sizes.sequence // one.length)
    try:
        took = train(world, model, prompts)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    positions = one.length * len(prompts)
    yield {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "positions": positions,
        "tokens_per_s": positions / took,
        "mfu": utilisation(model, [positions], positions, took, world.device, 1),
        "step_ms": took * 1e3,
        "peak_gb": world.peak(start),
    }


def clip(config: OlaConfig, frames: int, sound_s: int) -> Prompt:
    """Return a clip of noise as the loader would give it, with a question and an answer."""
    views = torch.randint(0, 256, (frames, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    chunks = -(-sound_s // config.audio_chunk_seconds)
    long, bins = 100 * config.audio_chunk_seconds, config.whisper.num_mel_bins
    sound = Sound(torch.randn(chunks, bins, long), torch.randn(chunks, long - 2, config.beats.num_mel_bins), "")
    ids = torch.randint(0, 300, (TEXT,))
    ids[:2] = torch.tensor([SPEECH, IMAGE])
    labels = ids.clone()
    labels[:-ANSWER] = IGNORE
    heard = sound_tokens(chunks, 1, config.speech_chunk_tokens)
    length = TEXT - 2 + video_tokens(WIDTH, HEIGHT, frames, config.cell) + heard
    return Prompt(ids, (Visual("video", (views,), ""),), (sound,), labels, length)


def train(world: World, model: OlaForConditionalGeneration, prompts: Sequence[Prompt]) -> float:
    """Return the seconds of the best step."""
    parameters.unfreeze(model, PHASE)
    parameters.set_mode(model)  # in evaluation mode nothing would be recomputed
    parameters.enable_recompute(model)
    parameters.shard_model(model, 1, torch.device(world.device), torch.bfloat16)
    optimizer = parameters.make_optimizer(model, PHASE)

    def step() -> None:
        cast("Any", model(prompts)).losses.mean().backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in parameters.trained_parameters(model)], 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return min(world.once(step) for _ in range(world.sizes.steps))
