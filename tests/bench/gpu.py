"""Compare the model's speed with the limits of a GPU: the released sizes with random bfloat16 weights.

    python -m tests.bench.gpu                 one GPU with 40 GB or more; needs torch and transformers, and no weights
    python -m tests.bench.gpu --layers 2      fewer layers of the decoder, for a smaller one
    python -m tests.bench.gpu --minutes 4     stop after the figure at which this time has passed

Prefill is held against the card's bfloat16 peak (two operations for each weight and token, and those of attention),
decoding against its memory bandwidth (weights and cache are read once a step).

Measured on an H200 (4.8 TB/s; torch 2.11, transformers 5.17): milliseconds a step after prompts of 2,048 tokens:

| rows | lengths | growing shapes, before | CUDA graphs, `ola.static_step` | of the bandwidth |
|---|---|---|---|---|
| 1 | equal | 24.9 | 8.3 | 36 % |
| 8 | equal / unequal | 17.9 / 20.1 | 8.7 / 8.9 | 36 % / 35 % |
| 32 | equal / unequal | 32.8 / 42.3 | 9.3 / 9.8 | 40 % / 38 % |
| 128 | equal / unequal | 17.9 / 138.7 | 14.0 / 14.9 | 44 % / 41 % |

The first time that a length of keys is met, growing shapes took 54 to 173 ms a step (cuDNN plans each length), graphs
take no more than later. Prefill: 36,000 tokens/s at 2k and 8k, 33,000 at 16k (50 to 55 % of the peak), and 27,000 where
each length is new. Vision tower: 530 frames/s of 448x448. Without cuDNN steps take 10 to 20 % longer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ola.config import OlaConfig
from ola.decoding import Reply, TorchDecoder
from ola.model import OlaForConditionalGeneration
from stages.mfu import peak_flops
from tests.ola import tiny

# Bytes a second, from the vendors' data sheets.
BANDWIDTHS = {"H100": 3.35e12, "H200": 4.8e12, "A100": 2.0e12, "L40S": 0.864e12}
PROMPT, NEW = 2048, 64


def filled(config: OlaConfig, device: str) -> OlaForConditionalGeneration:
    """A model of small random numbers, which are made where they stay."""
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


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The best of some rounds, after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])


def backends() -> Iterator[str]:
    """Let torch choose the kernels of attention freely, then without each of those that it could take."""
    cuda = torch.backends.cuda
    yield "torch's choice"
    cuda.enable_cudnn_sdp(False)
    yield "without cuDNN"
    cuda.enable_flash_sdp(False)
    yield "memory-efficient"
    cuda.enable_cudnn_sdp(True)
    cuda.enable_flash_sdp(True)


def prefill(model: OlaForConditionalGeneration, speed: float) -> Iterator[str]:
    """Tokens a second of reading a prompt."""
    weights = sum(p.numel() for layer in model.model.layers for p in layer.parameters())
    for length in (2048, 8192, 16_384):
        took = seconds(lambda length=length: decode(model, prompts(model, 1, length), 1))  # type: ignore[misc]
        width = model.config.hidden_size * model.config.num_hidden_layers
        operations = 2 * weights * length + 2 * length * length * width  # causal: half of the square, twice
        yield f"prefill {length:6}: {length / took:9,.0f} tokens/s, {operations / took / speed:4.0%} of the peak"
    torch.cuda.synchronize()
    began = time.perf_counter()
    for length in range(4001, 4017):
        decode(model, prompts(model, 1, length), 1)
    torch.cuda.synchronize()
    took = time.perf_counter() - began
    yield f"prefill of 16 lengths not seen before, about 4000: {16 * 4009 / took:9,.0f} tokens/s"


def decoding(model: OlaForConditionalGeneration, bandwidth: float) -> Iterator[str]:
    """Tokens a second of writing an answer."""
    read = sum(p.numel() * p.itemsize for part in (model.model.layers, model.lm_head) for p in part.parameters())
    config = model.config
    head = config.hidden_size // config.num_attention_heads
    heads = tiny.RELEASED_DECODER["num_key_value_heads"]
    a_token = 2 * 2 * config.num_hidden_layers * heads * head  # keys and values, two bytes
    for rows, unequal in ((8, True), (32, False), (1, False), (8, False), (32, True), (128, False), (128, True)):
        given = prompts(model, rows, PROMPT, unequal)
        cold, step = a_step(model, given), a_step(model, given)
        share = (read + rows * a_token * (PROMPT + NEW / 2)) / step / bandwidth
        which = "unequal" if unequal else "equal"
        yield (
            f"decode batch {rows:3} {which:7}: {rows / step:9,.0f} tokens/s, {share:4.0%} of the bandwidth, "
            f"{step * 1e3:.1f} ms a step (at first {cold * 1e3:.1f})"
        )


def a_step(model: OlaForConditionalGeneration, given: list[Tensor]) -> float:
    """Seconds of one token in each row, from the second token on: all tokens of a step come at once."""
    began, count = 0.0, 0
    for count, _ in enumerate(decoded(model, given, NEW + 1), start=1):
        if count == len(given):
            began = time.perf_counter()
    assert count == len(given) * (NEW + 1)
    return (time.perf_counter() - began) / NEW


def vision(model: OlaForConditionalGeneration) -> Iterator[str]:
    """Frames a second of the vision tower, at the most pixels a frame has."""
    frames = torch.randint(0, 256, (64, 3, 448, 448), dtype=torch.uint8, device=model.device)
    with torch.inference_mode():
        took = seconds(lambda: model.vision_tower([frames]))
    yield f"vision tower: {len(frames) / took:9,.0f} frames/s of 448x448"


def prompts(model: OlaForConditionalGeneration, rows: int, length: int, unequal: bool = False) -> list[Tensor]:
    """Random embeddings; of unequal prompts each is two positions shorter than the one before."""
    lengths = [length - 2 * unequal * row for row in range(rows)]
    return [torch.randn(one, model.config.hidden_size, device=model.device).bfloat16() for one in lengths]


def decoded(model: OlaForConditionalGeneration, embeds: list[Tensor], new: int) -> Iterator[tuple[int, int]]:
    """All prompts through one batch."""
    decoder = TorchDecoder(model, token_budget=len(embeds) * (len(embeds[0]) + new))
    return decoder.decode([Reply(one, new) for one in embeds])


def decode(model: OlaForConditionalGeneration, embeds: list[Tensor], new: int) -> None:
    """Read all prompts in one batch and write `new` tokens of each."""
    for _ in decoded(model, embeds, new):
        pass


def main() -> None:
    """Print a line a figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description="The released sizes on one GPU.")
    parser.add_argument("--layers", type=int, default=28, help="of the decoder; 28 is the released size")
    parser.add_argument("--minutes", type=float, default=12.0, help="no figure is begun after this time")
    arguments = parser.parse_args()
    layers, ends = arguments.layers, time.monotonic() + 60 * arguments.minutes
    if not torch.cuda.is_available():
        parser.error("this torch sees no GPU")
    name = torch.cuda.get_device_name()
    speed = peak_flops("cuda") or float("nan")
    bandwidth = next((bytes_ for card, bytes_ in BANDWIDTHS.items() if card in name), float("nan"))
    model = filled(OlaConfig(**tiny.RELEASED_DECODER | {"num_hidden_layers": layers}), "cuda")
    print(f"{name}, {layers} layers, {torch.cuda.memory_allocated() / 2**30:.1f} GiB of weights")
    for backend in backends():
        for figures in (decoding(model, bandwidth), prefill(model, speed), vision(model)):
            for line in figures:
                print(f"{backend:16} {line}", flush=True)
                if time.monotonic() > ends:
                    return
    print(f"memory at most: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
