"""Peak memory and seconds of a packed step of 8k positions: `python -m tests.bench.step_memory FILE`.

A decoder of 128 x 2 with a vocabulary of 32,000, on a CPU, each way in a process of its own: with logits in chunks or
all at once, where all positions are supervised; and for eight tasks of one clip, with their common beginning read once
(`together`) or by each task.

On two cores with much other work, torch 2.13: 986 MB in chunks and 3,491 MB at once; with the common beginning read
once 953 MB and 27 s, by each task 1,786 MB and 53 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ola import model as ola_model
from ola.prompt import IGNORE, Prompt
from stages.ranks import World
from tests.bench.measure import Figure
from tests.bench.training_memory import kilobytes
from tests.ola import tiny
from tests.stages.forked_ranks import run_ranks

SHAPE: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
POSITIONS, TASKS = 8192, 8


def measure(folder: Path) -> Iterator[Figure]:
    """Megabytes, and in the notes seconds."""
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "tests.bench.step_memory", str(folder)], check=True)
    for name, what in STEPS.items():
        found = json.loads((folder / f"{name}.json").read_text())
        note = f"{found['seconds']:.1f} s"
        yield Figure("training", f"peak of a step of 8k positions, {what}", "", "MB", [found["megabytes"]], note=note)


def sequences(count: int, begin: int, shared: bool) -> list[Prompt]:
    """Texts of 8k positions, with a common beginning once; what follows it is supervised. shared: equal beginnings."""
    start = torch.randint(1, 30_000, (begin,))
    made = []
    for number in range(count):
        ids = torch.cat([start, torch.randint(1, 30_000, ((POSITIONS - begin) // count,))])
        ids[0] = 0 if shared else number
        labels = ids.clone()
        labels[:begin] = IGNORE
        made.append(Prompt(ids, labels=labels, length=len(ids)))
    return made


def step(prompts: list[Prompt], at_once: int) -> None:
    """Run the prompts forward and backward. at_once: supervised tokens whose logits are computed together."""
    ola_model.LOGITS_AT_ONCE = at_once
    model = tiny.model(**SHAPE, attn_implementation="packed", has_speech=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("vision"))
    model(prompts).loss.backward()


STEPS = {
    "chunked": "logits in chunks",
    "whole": "logits at once",
    "together": "a common beginning read once",
    "apart": "a common beginning read by each task",
}


def run(name: str) -> None:
    """Run a step of a kind."""
    if name in {"chunked", "whole"}:
        step(sequences(1, 0, False), POSITIONS + 1 if name == "whole" else ola_model.LOGITS_AT_ONCE)
    else:
        step(sequences(TASKS, POSITIONS // 2, name == "together"), ola_model.LOGITS_AT_ONCE)


def measured(name: str, folder: Path, _: World) -> None:
    """Run a step; its figures go to a file."""
    before, began = kilobytes("VmRSS"), time.perf_counter()
    run(name)
    facts = {"megabytes": (kilobytes("VmHWM") - before) * 1024 / 1e6, "seconds": time.perf_counter() - began}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def main() -> None:
    """Run each step in a process of its own."""
    folder = Path(sys.argv[1])
    for name in STEPS:
        assert run_ranks(1, partial(measured, name, folder), folder / f"store-{name}") == [0], name


if __name__ == "__main__":
    main()
