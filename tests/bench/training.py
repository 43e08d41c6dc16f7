"""Benchmark training steps: packed sequences against padded rows, and the cost of a checkpoint.

A decoder of 256 x 4 with random encoders, frozen as in the paper's last stage, on one thread. The batch is what the
loader makes of images, videos and sounds of several lengths.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Prompt
from stages.catalogue import read_catalogue
from stages.ranks import World
from stages.recipe import Recipe
from stages.sampling import Order
from stages.trainer import PhaseTraining, Training
from tests.bench import step_memory, training_memory
from tests.bench.measure import Figure, Target, interleaved
from tests.bench.videos import Videos
from tests.ola import tiny
from tests.stages.shardset import WholeLoader, phase, sample, write_set

WIDER: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
FAMILIES = (("image_caption",), ("video_caption", "video_qa"), ("cross_modal_qa", "speech_recognition"))
LEARNED = {"visual_projector": 1e-4, "speech_projector": 1e-4, "decoder": 1e-4}
ROUNDS, STEPS, SAVE_EVERY = 3, 10, 2


def measure(videos: Videos) -> Iterator[Figure]:
    """Tokens/s, the stall of a checkpoint in steps, and the memory of a rank and of a step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        folder = videos.folder / "training"
        sources = _shards(folder)
        yield _packing(sources)
        yield _stall(folder, sources)
        yield from training_memory.measure(folder / "memory")
        yield from step_memory.measure(folder / "step")
    finally:
        torch.set_num_threads(threads)


def _shards(folder: Path) -> tuple[str, ...]:
    """Sets of samples whose videos have 2 to 8 frames and whose sounds last 1 to 4 seconds."""
    for number, kinds in enumerate(FAMILIES):
        content = [sample(100 * number + n, *kinds, frames=2 + 2 * n, seconds=1 + n) for n in range(4)]
        write_set(folder / str(number), content, 1)
    return tuple(str(folder / str(number)) for number in range(len(FAMILIES)))


def _packing(sources: tuple[str, ...]) -> Figure:
    model = tiny.model(**WIDER)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("vision_tower", "speech_encoder")))
    tasks = read_catalogue(sources)
    plan = phase(lr=LEARNED, batch=1, sequence_tokens=100_000)
    processor = OlaProcessor(tiny.tokenizer(), model.config)
    (step,) = WholeLoader(tasks, Order(tasks, plan), processor, 0, 1)
    prompts = step.packs[0].prompts
    tokens = sum(prompt.length for prompt in prompts)
    packed, padded = interleaved(
        ROUNDS, lambda: _learn(model, prompts, "packed"), lambda: _learn(model, prompts, "sdpa")
    )
    note = f"{len(prompts)} tasks of {min(p.length for p in prompts)} to {max(p.length for p in prompts)} positions"
    ours, theirs = ([tokens / seconds for seconds in one] for one in (packed, padded))
    return Figure(
        "training", "a step, packed", "padded to the longest", "tokens/s", ours, theirs, "speed", Target("≥", 1.5), note
    )


def _learn(model: OlaForConditionalGeneration, prompts: tuple[Prompt, ...], attention: str) -> None:
    model.config._attn_implementation = attention
    model.zero_grad()
    model(prompts).loss.backward()


def _stall(folder: Path, sources: tuple[str, ...]) -> Figure:
    """Seconds that the loop waits for a checkpoint, in steps of the same training."""
    start = folder / "model"
    model = tiny.model(**WIDER)
    model.save_pretrained(start)
    OlaProcessor(tiny.tokenizer(), model.config).save_pretrained(start)
    plan = phase(lr=LEARNED, batch=1, sequence_tokens=4000, steps=STEPS)
    training = Training(
        Recipe(name="bench", phases=(plan,)), sources, str(start), str(folder / "out"), save_every=SAVE_EVERY
    )
    tasks = read_catalogue(sources)
    clocked = Clocked(training, plan, tasks, Order(tasks, plan), start, World(), len)
    clocked.run()
    step = statistics.median(clocked.stepped)
    note = f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M weights; a step takes {step:.2f} s"
    stalls = [seconds / step for seconds in clocked.saved]
    return Figure("training", "stall of a checkpoint", "", "steps", stalls, target=Target("≤", 1.0, "steps"), note=note)


class Clocked(PhaseTraining):
    """Notes how long steps take, and how long saving keeps the loop from the next one."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.stepped, self.saved = list[float](), list[float]()

    def _train_step(self, step: Any) -> None:
        began = time.perf_counter()
        super()._train_step(step)
        self.stepped.append(time.perf_counter() - began)

    def _save(self, step: int) -> None:
        began = time.perf_counter()
        super()._save(step)
        self.saved.append(time.perf_counter() - began)
