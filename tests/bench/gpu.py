"""Where the model stands against the limits of a GPU: the released sizes with random bfloat16 weights.

    python -m tests.bench.gpu                 one GPU with 40 GB or more; needs torch and transformers, and no weights
    python -m tests.bench.gpu --layers 2      fewer layers of the decoder, for a smaller one

Prefill is held against the card's bfloat16 peak (two operations for each weight and token, and those of attention),
decoding against its memory bandwidth (weights and cache are read once a step).

| card | prefill of 8k tokens | decoding at batch 1 / 8 / 32 | vision tower | memory |
|---|---|---|---|---|
| none could be had | not measured | not measured | not measured | not measured |
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
from stages.utilisation import peak
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


def prefill(model: OlaForConditionalGeneration, speed: float) -> Iterator[str]:
    """Tokens a second of reading a prompt."""
    weights = sum(p.numel() for layer in model.model.layers for p in layer.parameters())
    for length in (2048, 8192, 16_384):
        took = seconds(lambda length=length: decode(model, prompts(model, 1, length), 1))  # type: ignore[misc]
        width = model.config.hidden_size * model.config.num_hidden_layers
        operations = 2 * weights * length + 2 * length * length * width  # causal: half of the square, twice
        yield f"prefill {length:6}: {length / took:9,.0f} tokens/s, {operations / took / speed:4.0%} of the peak"


def decoding(model: OlaForConditionalGeneration, bandwidth: float) -> Iterator[str]:
    """Tokens a second of writing an answer."""
    read = sum(p.numel() * p.itemsize for part in (model.model.layers, model.lm_head) for p in part.parameters())
    config = model.config
    head = config.hidden_size // config.num_attention_heads
    heads = tiny.RELEASED_DECODER["num_key_value_heads"]
    a_token = 2 * 2 * config.num_hidden_layers * heads * head  # keys and values, two bytes
    for rows in (1, 8, 32):
        given = prompts(model, rows, PROMPT)
        first = seconds(lambda given=given: decode(model, given, 1))  # type: ignore[misc]
        step = (seconds(lambda given=given: decode(model, given, NEW + 1)) - first) / NEW  # type: ignore[misc]
        share = (read + rows * a_token * (PROMPT + NEW / 2)) / step / bandwidth
        yield f"decode batch {rows:2}: {rows / step:9,.0f} tokens/s, {share:4.0%} of the bandwidth"


def vision(model: OlaForConditionalGeneration) -> Iterator[str]:
    """Frames a second of the vision tower, at the most pixels a frame has."""
    frames = torch.randint(0, 256, (64, 3, 448, 448), dtype=torch.uint8, device=model.device)
    with torch.inference_mode():
        took = seconds(lambda: model.vision_tower([frames]))
    yield f"vision tower: {len(frames) / took:9,.0f} frames/s of 448x448"


def prompts(model: OlaForConditionalGeneration, rows: int, length: int) -> list[Tensor]:
    """Random embeddings."""
    return [torch.randn(length, model.config.hidden_size, device=model.device).bfloat16() for _ in range(rows)]


def decode(model: OlaForConditionalGeneration, embeds: list[Tensor], new: int) -> None:
    """All prompts through one batch."""
    decoder = TorchDecoder(model, token_budget=len(embeds) * (len(embeds[0]) + new))
    for _ in decoder.decode([Reply(one, new) for one in embeds]):
        pass


def main() -> None:
    """Print a line a figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description="The released sizes on one GPU.")
    parser.add_argument("--layers", type=int, default=28, help="of the decoder; 28 is the released size")
    layers = parser.parse_args().layers
    if not torch.cuda.is_available():
        parser.error("this torch sees no GPU")
    name = torch.cuda.get_device_name()
    speed = peak("cuda") or float("nan")
    bandwidth = next((bytes_ for card, bytes_ in BANDWIDTHS.items() if card in name), float("nan"))
    model = filled(OlaConfig(**tiny.RELEASED_DECODER | {"num_hidden_layers": layers}), "cuda")
    print(f"{name}, {layers} layers, {torch.cuda.memory_allocated() / 2**30:.1f} GiB of weights")
    for figures in (prefill(model, speed), decoding(model, bandwidth), vision(model)):
        for line in figures:
            print(line)
    print(f"memory at most: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
