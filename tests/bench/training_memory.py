"""Host memory of a rank at load and at resume, and seconds of a checkpoint: `python -m tests.bench.training_memory`.

A decoder of 52M weights in bfloat16, of which all are trained, on two ranks forked from one process. A rank's shard is
what it keeps: its rows of the weights, and at resume also of the optimizer, in float32.

On two cores with other work beside it, torch 2.13: 1.27 shards at load (108 MB each), 1.12 at resume (319 MB), and a
checkpoint of 638 MB in 2.0 to 2.5 s.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ola.processor import OlaProcessor
from ola.weights import rows_of_rank
from stages.phase_model import Numerics, PhaseModel, open_model
from stages.ranks import World
from tests.bench.measure import Figure, Target
from tests.ola import tiny
from tests.stages.forked_ranks import run_ranks
from tests.stages.shardset import phase

SHAPE: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}
RANKS, MOST = 2, 1.5
PLAN = phase(lr={"decoder": 1e-4})


def measure(folder: Path) -> Iterator[Figure]:
    """Multiples of a rank's shard, and seconds of saving."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.bench.training_memory", str(folder)]
    subprocess.run(command, check=True)
    found = {
        what: [json.loads((folder / f"{what}-{rank}.json").read_text()) for rank in range(RANKS)]
        for what in ("load", "resume")
    }
    for what, facts in found.items():
        peaks = [each["peak"] / each["shard"] for each in facts]
        note = f"{RANKS} ranks; a shard has {statistics.mean(each['shard'] for each in facts) / 1e6:.0f} MB"
        target = Target("≤", MOST, "shards")
        yield Figure("training", f"host memory of a rank at {what}", "", "shards", peaks, target=target, note=note)
    note = f"in the background; {sum(each['shard'] for each in found['resume']) / 1e6:.0f} MB"
    yield Figure(
        "training", "a checkpoint is written in", "", "s", [each["seconds"] for each in found["load"]], note=note
    )


def load_and_save(folder: Path, world: World) -> None:
    """Load and save as one rank; the figures go to a file."""
    opened, facts = measured_open(folder / "model", None, world)
    for parameter in opened.model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    opened.optimizer.step()
    state, began = opened.copy_state(), time.perf_counter()
    opened.write(state, world.rank == 0, False, folder / "step")
    facts["seconds"] = time.perf_counter() - began
    (folder / f"load-{world.rank}.json").write_text(json.dumps(facts))


def resume(folder: Path, world: World) -> None:
    """Resume as one rank; the figures go to a file."""
    _, facts = measured_open(folder / "model", folder / "step", world)
    (folder / f"resume-{world.rank}.json").write_text(json.dumps(facts))


def measured_open(start: Path, resumed: Path | None, world: World) -> tuple[PhaseModel, dict[str, float]]:
    """Open the model; return it with the bytes by which the process grew at most, and those that it keeps."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before = kilobytes("VmRSS")
    opened = open_model(PLAN, start, resumed, Numerics(compute=torch.bfloat16), world)
    peak = 1024 * (kilobytes("VmHWM") - before)
    tensors = [*opened.model.parameters()]
    tensors += [each for state in opened.optimizer.state.values() for each in state.values()]
    return opened, {"peak": peak, "shard": sum(rows_of_rank(each)[0].nbytes for each in tensors)}


def kilobytes(name: str) -> int:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Make the model, and run the ranks."""
    folder = Path(sys.argv[1])
    run_ranks(
        1, lambda _: make_model(folder / "model"), folder / "store-0"
    )  # its memory is gone before the others fork
    for name, work in {"load": load_and_save, "resume": resume}.items():
        codes = run_ranks(RANKS, partial(work, folder), folder / f"store-{name}")
        assert codes == [0] * RANKS, codes


def make_model(folder: Path) -> None:
    """Write random weights in bfloat16."""
    model = tiny.model(**SHAPE)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    model.save_pretrained(folder)
    OlaProcessor(tiny.tokenizer(), model.config).save_pretrained(folder)


if __name__ == "__main__":
    main()
