"""Benchmark how well lanes of different cost fill a cluster: toy lanes that sleep, on a Ray with pretended CPUs.

In: the seconds of each lane, and the CPUs and GPUs that Ray believes in. Out: the time from the first third of the
numbers to the last, over what the slowest resource needs for them at least. Starts of actors are left out by that
third: on two cores a start takes a second, and nobody has 16 CPUs without more cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pipeline.engine.engines import RayEngine
from pipeline.engine.lane_plan import Lane, LanePlan
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos

CPUS, GPUS = 16, 2
Kind = tuple[float, bool]  # seconds of a number, and whether on a GPU
ROWS: Sequence[tuple[str, Sequence[Kind], int]] = (
    ("CPU 1.0 s, GPU 0.1 s", ((1.0, False), (0.1, True)), 160),
    ("CPU 1.0 s, GPU 0.1 s, CPU 1.0 s", ((1.0, False), (0.1, True), (1.0, False)), 160),
    ("CPU 0.17 s, CPU 0.21 s", ((0.17, False), (0.21, False)), 480),
    ("CPU 0.1 s, GPU 1.0 s", ((0.1, False), (1.0, True)), 48),
    ("CPU 0.1, 0.8, GPU 0.2, CPU 0.3 s", ((0.1, False), (0.8, False), (0.2, True), (0.3, False)), 160),
)


class Sleeping(Lane):
    """A lane that sleeps, and writes down when each number was done."""

    def __init__(self, seconds: float, path: str) -> None:
        """path: of the file for the times; "" for none."""
        self.seconds, self.path = seconds, path

    def __call__(self, number: int) -> None:
        """Sleep."""
        time.sleep(self.seconds)
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{time.time()}\n")


def measure(videos: Videos) -> Iterator[Figure]:
    """A row for each set of lanes."""
    import ray

    folder = videos.folder / "ray-of-lanes"
    ray.init(
        address="local",
        num_cpus=CPUS,
        num_gpus=GPUS,
        _temp_dir=str(folder),
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        for n, (name, kinds, numbers) in enumerate(ROWS):
            took, ideal = run(kinds, numbers, videos.folder / f"lanes{n}")
            what = f"engine ray, lanes that sleep: {name}, from the first third of {numbers} on"
            yield Figure(
                "lanes", what, f"{CPUS} CPUs, {GPUS} GPUs always busy", "s", [took], [ideal], target=Target("<", 1.25)
            )
    finally:
        ray.shutdown()


def run(kinds: Sequence[Kind], numbers: int, path: Path) -> tuple[float, float]:
    """Seconds from the first third of the numbers to the last, measured and at best."""
    lanes = [
        LanePlan(partial(Sleeping, seconds, str(path) if n == len(kinds) - 1 else ""), gpus=float(on_gpu))
        for n, (seconds, on_gpu) in enumerate(kinds)
    ]
    RayEngine().map(lanes, range(numbers))
    times = sorted(float(line) for line in path.read_text(encoding="utf-8").split())
    assert len(times) == numbers
    third = numbers // 3
    on_gpus = sum(seconds for seconds, on_gpu in kinds if on_gpu) / GPUS
    on_cpus = sum(seconds for seconds, on_gpu in kinds if not on_gpu) / (CPUS - GPUS)
    return times[-1] - times[third - 1], (numbers - third) * max(on_gpus, on_cpus)
