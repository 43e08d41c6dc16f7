"""Training steps on a GPU: a decoder of 1.5B shape with the full encoders, random weights, bfloat16, packed sequences.

    python -m tests.bench.gpu_training                one GPU with 40 GB or more; needs torch and transformers alone
    python -m tests.bench.gpu_training --device cpu   a tiny model, to see that it runs

Each sequence holds as many clips as fit 16k positions: one of 48 frames of 448x352 with 30 s of sound and an answer of
200 tokens. The decoder and both projectors are trained, activations are recomputed. The wait for data is the `loading`
bench's matter: one process decodes 7 such clips a second.

Measured under autocast, before the trainer took FSDP2's bfloat16 on one rank, too; not measured since:

| card | positions a step | tokens/s | MFU (target 45 %) | memory |
|---|---|---|---|---|
| H200, torch 2.11 | 8,421 | 17,900 | 18.1 % | 36.4 GiB |

The card is busy for 446 of the 650 ms of a step under the profiler: matrix products take 0.35 of that, copies and casts
0.11, the plain AdamW 0.11, attention 0.15.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from ola.config import OlaConfig
from ola.geometry import sound_tokens, video_tokens
from ola.model import OlaForConditionalGeneration
from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt, Sound, Visual
from stages import parameters
from stages.mfu import utilisation
from stages.recipe import Phase
from tests.bench.gpu import filled
from tests.ola import tiny

SHAPE: dict[str, Any] = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
}
FRAMES, WIDTH, HEIGHT, SECONDS, TEXT, ANSWER = 48, 448, 352, 30, 300, 200
SEQUENCE, STEPS = 16_384, 8


def clip(config: OlaConfig, frames: int) -> Prompt:
    """A clip of noise as the loader would give it, with a question and an answer."""
    views = torch.randint(0, 256, (frames, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    chunks = -(-SECONDS // config.audio_chunk_seconds)
    long, bins = 100 * config.audio_chunk_seconds, config.whisper.num_mel_bins
    sound = Sound(torch.randn(chunks, bins, long), torch.randn(chunks, long - 2, config.beats.num_mel_bins), "")
    ids = torch.randint(0, 300, (TEXT,))
    ids[:2] = torch.tensor([SPEECH, IMAGE])
    labels = ids.clone()
    labels[:-ANSWER] = IGNORE
    heard = sound_tokens(chunks, 1, config.speech_chunk_tokens)
    length = TEXT - 2 + video_tokens(WIDTH, HEIGHT, frames, config.cell) + heard
    return Prompt(ids, (Visual("video", (views,), ""),), (sound,), labels, length)


def trained(model: OlaForConditionalGeneration, device: str, frames: int) -> tuple[float, int]:
    """Seconds of the best step, and its positions."""
    rates = {"visual_projector": 1e-5, "speech_projector": 1e-5, "decoder": 1e-5}
    phase = Phase.model_validate({"name": "bench", "stages": ["omni"], "lr": rates})
    parameters.unfreeze(model, phase)
    parameters.enable_recompute(model)
    parameters.shard_model(model, 1, torch.device(device), torch.bfloat16)
    optimizer = parameters.make_optimizer(model, phase)
    one = clip(model.config, frames)
    prompts = [one] * max(1, SEQUENCE // one.length if device == "cuda" else 1)
    best = float("inf")
    for _ in range(STEPS if device == "cuda" else 2):
        began = time.perf_counter()
        model(prompts).losses.mean().backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in parameters.trained_parameters(model)], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best, one.length * len(prompts)


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu_training", description="Training steps on a GPU.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    device = parser.parse_args().device
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no GPU")
    if device == "cuda":
        model = filled(OlaConfig(**tiny.RELEASED_DECODER | SHAPE), device)
    else:
        model = tiny.model(limits={"video_max": WIDTH, "video_min": 32})
    model.config._attn_implementation = "packed"
    took, positions = trained(model, device, FRAMES if device == "cuda" else 2)
    share = utilisation(model, [positions], positions, took, device, 1)
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most" if device == "cuda" else "memory not read"
    many = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    mfu = "not known" if share is None else f"{share:.1%}"
    print(f"{many:.2f}B weights, {positions} positions a step: {positions / took:,.0f} tokens/s, MFU {mfu}, {memory}")


if __name__ == "__main__":
    main()
