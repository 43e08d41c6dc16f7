"""The decoder in vLLM against `TorchDecoder`, on a CPU, where vLLM is installed (`make test-vllm`).

Random weights and prompts, one thread, float32, greedy; both sides must give the same tokens. Prompts are read anew in
each round, without what vLLM remembers of the round before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ola.decoding import Decoder, Reply, TorchDecoder
from ola.export import export_decoder
from tests.bench.measure import Figure, interleaved
from tests.bench.videos import Videos
from tests.ola import tiny

# Heads 32 wide, the least that vLLM's attention on a CPU takes.
TINY: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1}
LARGER: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
LENGTHS = range(100, 401, 10)
NEW_TOKENS = 64
ROUNDS = 7


def measure(videos: Videos) -> Iterator[Figure]:
    """A row for each of two models."""
    if find_spec("vllm") is None:
        print("vllm: not measured (vllm is not installed)", file=sys.stderr)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, sizes in (("tiny", TINY), ("larger", LARGER)):
        yield _against_torch(videos.folder / name, sizes)
    torch.set_num_threads(threads)


def _against_torch(folder: Path, sizes: dict[str, Any]) -> Figure:
    from ola.vllm_decoder import VllmDecoder

    model = tiny.model(**sizes)
    model.save_pretrained(folder / "ola")
    export_decoder(folder / "ola", folder / "qwen2")
    vllm, plain = VllmDecoder(folder / "qwen2", torch.float32), TorchDecoder(model)
    dice = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, model.config.vocab_size, (length,), generator=dice) for length in LENGTHS]
    with torch.inference_mode():
        embeds = [model.get_input_embeddings()(some) for some in ids]
    said: dict[str, list[list[int]]] = {}

    def decode(name: str, decoder: Decoder) -> None:
        said[name] = decoded(decoder, [Reply(one, NEW_TOKENS) for one in embeds])

    ours, theirs = interleaved(
        1 + ROUNDS, lambda: decode("vllm", vllm), lambda: decode("torch", plain), vllm.engine.reset_prefix_cache
    )
    assert said["vllm"] == said["torch"]
    rate = len(embeds) * NEW_TOKENS
    what = f"{len(embeds)} prompts of {LENGTHS[0]} to {LENGTHS[-1]} embeddings, {NEW_TOKENS} tokens each: vLLM"
    note = f"width {model.config.hidden_size}, {model.config.num_hidden_layers} layers; float32, one thread"
    rates = [[rate / seconds for seconds in side[1:]] for side in (ours, theirs)]  # the first round warms up
    return Figure("vllm", what, "TorchDecoder", "tokens/s", rates[0], rates[1], "speed", note=note)


def decoded(decoder: Decoder, replies: Sequence[Reply]) -> list[list[int]]:
    """The tokens of each reply."""
    found: list[list[int]] = [[] for _ in replies]
    for index, token in decoder.decode(replies):
        found[index].append(token)
    return found
