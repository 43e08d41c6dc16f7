"""Measure a card in one call, best first: decoding, prefill, shared prefixes, encoders, training, attention backends.

    python -m tests.bench.gpu --minutes 12         a GPU with 40 GB or more; needs torch and transformers, no weights
    python -m tests.bench.gpu --layers 2           fewer layers of the decoder, for a smaller one
    python -m tests.bench.gpu --sizes tiny         a tiny model, on any machine: to see that it runs
    python -m tests.bench.gpu --only decode train  some of the figures

Random bfloat16 weights of the released sizes; 1.5B for training. Each figure is printed as it comes, and written to
`bench-gpu.jsonl` (`--json FILE`). Prefill and training are held against the card's bfloat16 peak, decoding against its
memory bandwidth (weights and cache are read once a step), and memory against what `ola.memory` reckons. A figure that
fails, by lack of memory say, is a line with its error; none is begun after `--minutes`.

Measured on an H200 (4.8 TB/s; torch 2.11, transformers 5.17): milliseconds a step after prompts of 2,048 tokens. The
growing shapes are of an earlier release.

| rows | lengths | growing shapes | CUDA graphs, `ola.static_step` | of the bandwidth |
|---|---|---|---|---|
| 1 | equal | 24.9 | 8.8 | 34 % |
| 8 | equal / unequal | 17.9 / 20.1 | 9.2 / 8.9 | 34 % / 35 % |
| 32 | equal / unequal | 32.8 / 42.3 | 10.0 / 10.2 | 37 % / 37 % |
| 128 | equal / unequal | 17.9 / 138.7 | 16.0 / 15.9 | 38 % / 39 % |

The first time that a length of keys is met, growing shapes took 54 to 173 ms a step (cuDNN plans each length), graphs
9 to 23 ms. `docs/benchmarks.md` has the other figures.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ola.cuda_settings import expand_segments
from tests.bench import gpu_decoding, gpu_encoders, gpu_training
from tests.bench.gpu_world import RELEASED, TINY, Facts, Sizes, World, limits_of

Measure = Callable[[World], Iterator[Facts]]
FIGURES: dict[str, Measure] = {
    "decode": gpu_decoding.decode,
    "prefill": gpu_decoding.prefill,
    "prefixes": gpu_decoding.shared_prefixes,
    "encoders": gpu_encoders.measure,
    "train": gpu_training.measure,
    "backends": gpu_decoding.backends,
}
SIZES = {"released": RELEASED, "tiny": TINY}


class Report:
    """Prints figures and appends them to a file of JSON lines. failed: the figures that ended with an error."""

    def __init__(self, file: Path, always: Facts) -> None:
        self.file, self.always, self.failed = file, always, 0
        file.write_text("", encoding="utf-8")

    def add(self, name: str, facts: Facts) -> None:
        words = ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in facts.items())
        print(f"{name:9} {words}", flush=True)
        self.failed += "error" in facts
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"figure": name, **facts, **self.always}) + "\n")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "not known" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def measured(
    figures: Iterable[str], sizes: Sizes, layers: int | None, device: str, ends: float
) -> Iterator[tuple[str, Facts]]:
    """Yield the name and facts of each figure that begins before `ends`, on the clock of `time.monotonic`."""
    for name in figures:
        if time.monotonic() > ends:
            return
        world = World(sizes, limits_of(device), device, layers)
        try:
            for facts in FIGURES[name](world):
                yield name, facts
                if time.monotonic() > ends:
                    return
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            yield name, {"error": " ".join(str(error).split())[:300]}
        del world
        gc.collect()
        torch.cuda.empty_cache()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the number of figures that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description="The model on one GPU.")
    parser.add_argument("--minutes", type=float, default=12.0, help="no figure is begun after this time")
    parser.add_argument("--sizes", choices=SIZES, default="released", help="of the model; tiny runs on a CPU, too")
    parser.add_argument("--layers", type=int, help="of the decoder; the released one has 28")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="FIGURE")
    parser.add_argument("--json", type=Path, default=Path("bench-gpu.jsonl"), metavar="FILE", help="a line a figure")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    expand_segments(device)
    if device == "cpu" and given.sizes != "tiny":
        parser.error("this torch sees no GPU; --sizes tiny runs without")
    always = {"card": limits_of(device).card, "torch": torch.__version__, "transformers": transformers.__version__}
    report = Report(given.json, always | {"sizes": given.sizes})
    print(", ".join(f"{key} {value}" for key, value in always.items()), flush=True)
    ends = time.monotonic() + 60 * given.minutes
    for name, facts in measured(given.only, SIZES[given.sizes], given.layers, device, ends):
        report.add(name, facts)
    return report.failed


if __name__ == "__main__":
    raise SystemExit(main() > 0)
