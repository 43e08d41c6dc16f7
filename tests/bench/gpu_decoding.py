"""Decoding and prefill on a GPU against its limits, by attention backend, and with and without shared prefixes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ola.decoding import Reply, TorchDecoder
from ola.memory import DecodingBatch, decoding_bytes, position_bytes
from ola.model import OlaForConditionalGeneration
from ola.prefixes import Prefix
from tests.bench.gpu_world import Facts, World, share_of

OTHER_BACKENDS = {
    "without cuDNN": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "memory-efficient": [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}
QUESTION = 40  # positions of the shortest question about a clip


def decode(world: World, rows: Sequence[tuple[int, bool]] = ()) -> Iterator[Facts]:
    """Tokens a second of writing answers, against the bandwidth; the peak of the memory against the reckoned one."""
    model, sizes = world.model, world.sizes
    read = sum(p.numel() * p.itemsize for part in (model.model.layers, model.lm_head) for p in part.parameters())
    position = position_bytes(model.config, model.dtype)
    for many, unequal in rows or sizes.rows:
        start = world.start_peak()
        given = prompts(model, many, sizes.prompt, unequal)
        cold, step = (seconds_of_step(world, given) for _ in range(2))
        batch = DecodingBatch([len(one) for one in given], sizes.new + 1)
        moved = (read + many * position * (sizes.prompt + sizes.new / 2)) / step
        yield {
            "rows": many,
            "lengths": "unequal" if unequal else "equal",
            "tokens_per_s": many / step,
            "of_bandwidth": share_of(moved, world.limits.bandwidth),
            "step_ms": step * 1e3,
            "first_step_ms": cold * 1e3,
            "peak_gb": world.peak(start),
            "reckoned_gb": decoding_bytes(model.config, model.dtype, batch) / 1e9,
        }


def seconds_of_step(world: World, given: list[Tensor]) -> float:
    """Return the seconds of one token in each row, from the second on: all tokens of a step come at once."""
    began, count, new = 0.0, 0, world.sizes.new
    for count, _ in enumerate(decoded(world.model, given, new + 1), start=1):
        if count == len(given):
            began = time.perf_counter()
    assert count == len(given) * (new + 1)
    return (time.perf_counter() - began) / new


def prefill(world: World) -> Iterator[Facts]:
    """Tokens a second of reading a prompt, and of prompts whose lengths were not met before."""
    model, sizes = world.model, world.sizes
    weights = sum(p.numel() for layer in model.model.layers for p in layer.parameters())
    width = model.config.hidden_size * model.config.num_hidden_layers
    for length in sizes.lengths:
        start = world.start_peak()
        given = prompts(model, 1, length)
        took = world.seconds(lambda given=given: read_each(model, [given]))  # type: ignore[misc]
        operations = 2 * weights * length + 2 * length * length * width  # causal: half of the square, twice
        yield {
            "positions": length,
            "tokens_per_s": length / took,
            "of_peak": share_of(operations / took, world.limits.flops),
            "peak_gb": world.peak(start),
            "reckoned_gb": decoding_bytes(model.config, model.dtype, DecodingBatch([length], 1)) / 1e9,
        }
    new = [prompts(model, 1, length) for length in sizes.unseen]
    took, again = (world.once(lambda: read_each(model, new)) for _ in range(2))
    positions = sum(sizes.unseen)
    yield {"new_lengths": len(new), "tokens_per_s": positions / took, "tokens_per_s_again": positions / again}


def shared_prefixes(world: World) -> Iterator[Facts]:
    """Seconds of reading questions about one clip, with its frames read once and with each prompt read whole."""
    model, sizes = world.model, world.sizes
    embeds = prompts(model, sizes.questions, sizes.clip + QUESTION + 2 * sizes.questions, unequal=True)
    for one in embeds:
        one[: sizes.clip] = embeds[0][: sizes.clip]

    def read(kept: int) -> TorchDecoder:
        replies = [Reply(one, 1, prefixes=(Prefix("clip", sizes.clip),)) for one in embeds]
        decoder = TorchDecoder(model, token_budget=sum(map(len, embeds)) + 10**4, prefix_tokens=kept)
        for _ in decoder.decode(replies):
            pass
        return decoder

    shared, whole = (world.seconds(lambda kept=kept: read(kept)) for kept in (sizes.clip, 0))  # type: ignore[misc]
    counts = read(sizes.clip).prefixes
    yield {
        "questions": sizes.questions,
        "shared_s": shared,
        "whole_s": whole,
        "times_as_fast": whole / shared,
        "positions_read": counts.read,
        "positions_asked": counts.asked,
    }


def backends(world: World) -> Iterator[Facts]:
    """The first two batches of `decode`, and `prefill`, without backends that torch would choose from."""
    for name, allowed in OTHER_BACKENDS.items():
        with sdpa_kernel(allowed):
            for facts in (*decode(world, world.sizes.rows[:2]), *prefill(world)):
                yield {"backend": name, **facts}


def prompts(model: OlaForConditionalGeneration, rows: int, length: int, unequal: bool = False) -> list[Tensor]:
    """Return random embeddings; of unequal prompts each is two positions shorter than the one before."""
    lengths = [length - 2 * unequal * row for row in range(rows)]
    return [torch.randn(one, model.config.hidden_size, device=model.device).to(model.dtype) for one in lengths]


def decoded(model: OlaForConditionalGeneration, embeds: list[Tensor], new: int) -> Iterator[tuple[int, int]]:
    """Run all prompts through one batch."""
    decoder = TorchDecoder(model, token_budget=len(embeds) * (len(embeds[0]) + new), prefix_tokens=0)
    return decoder.decode([Reply(one, new) for one in embeds])


def read_each(model: OlaForConditionalGeneration, batches: Sequence[list[Tensor]]) -> None:
    """Read the prompts of each batch and write one token of each."""
    for embeds in batches:
        for _ in decoded(model, embeds, 1):
            pass
