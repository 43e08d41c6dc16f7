"""Measure time and memory of each command over roots with many clips, and how they grow.

    python -m tests.bench scale                      10,000 and 100,000 clips
    python -m tests.bench.scale 1000000              a million alone: about an hour on two cores, 10 GB of disk

A growth of 1 is linear: the exponent of seconds over clips, between the sizes that were measured.

Seconds and MB of the largest process on two cores that had other work beside, twice to three times as long as alone
(six jobs beside the last row):

| clips | first pack | idle run | status | sql | why | whatif | catalogue and order |
|---|---|---|---|---|---|---|---|
| 10,000 | 32, 429 | 4.7, 212 | 3.6, 168 | 2.8, 161 | 3.4, 190 | 4.8, 245 | 2.8, 173 |
| 100,000 | 188, 683 | 6.5, 237 | 3.9, 175 | 4.1, 164 | 4.1, 217 | 5.7, 329 | 2.9, 252 |
| 300,000 | 709, 702 | 4.2, 257 | 3.4, 193 | 1.8, 163 | 3.1, 230 | 3.5, 526 | 2.2, 394 |
| 1,000,000 | 1816, 773 | 8.7, 322 | 2.7, 243 | 1.7, 166 | 5.7, 232 | 4.5, 1140 | 5.2, 895 |
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import again, made_root
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos

SIZES = (10_000, 100_000)
ORDER = """
import sys
from stages.catalogue import read_catalogue
from stages.sampling import Order
from stages.recipe import packaged_recipes, read_recipe
Order(read_catalogue([sys.argv[1]]), read_recipe(packaged_recipes()[0]).phases[-1]).steps()
"""
# command: seconds and MB that it may take, of a million clips
TARGETS = {
    "first pack": (math.inf, 1500.0),
    "idle run": (5.0, 1000.0),
    "status": (3.0, 1500.0),
    "sql": (3.0, 1500.0),
    "why": (3.0, 1500.0),
    "whatif": (math.inf, 1500.0),
    "catalogue and order": (math.inf, 1500.0),
}


def measure(videos: Videos) -> Iterator[Figure]:
    """Two rows for each command and size, then one for its growth."""
    found: dict[str, list[float]] = {}
    for clips in SIZES:
        for name, seconds, megabytes in measured(videos.folder / f"scale-{clips}", clips):
            found.setdefault(name, []).append(seconds)
            yield from _figures(name, clips, seconds, megabytes)
    for name, seconds_of in found.items():
        growth = math.log(seconds_of[-1] / seconds_of[0]) / math.log(SIZES[-1] / SIZES[0])
        what = f"{name}: growth from {SIZES[0]:,} to {SIZES[-1]:,} clips"
        yield Figure("scale", what, "1 is linear", "exponent", [growth], target=Target("≤", 1.1, "exponent"))


def _figures(name: str, clips: int, seconds: float, megabytes: float) -> Iterator[Figure]:
    limits = TARGETS[name]
    values = ((seconds, "s", limits[0]), (megabytes, "MB", limits[1]))
    for value, unit, bound in values:
        target = Target("≤", bound, unit) if math.isfinite(bound) else None
        yield Figure("scale", f"{name}, {clips:,} clips", "absolute, whole process", unit, [value], target=target)


def measured(folder: Path, clips: int) -> Iterator[tuple[str, float, float]]:
    """(command, seconds, megabytes of its largest process) over a root of so many clips, which is deleted then."""
    folder.mkdir()
    root = folder / "root"
    plan = made_root.make(folder / "sources", root, clips)
    clip = str(plan.find_step("split").manifest.read(0)["id"][0].as_py())
    ola = (*again.OLA,)
    commands = {
        "first pack": (*ola, "run", str(folder / "sources"), "--root", str(root)),
        "idle run": (*ola, "run", str(folder / "sources"), "--root", str(root)),
        "status": (*ola, "status", str(root)),
        "sql": (*ola, "sql", str(root), "SELECT status, count(*) FROM split GROUP BY ALL"),
        "why": (*ola, "why", str(root), clip),
        "whatif": (*ola, "whatif", str(root), "motion > 1"),
        "catalogue and order": (sys.executable, "-c", ORDER, str(root)),
    }
    for name, command in commands.items():
        facts = again.run(command)
        yield name, float(facts["seconds"]), float(facts["megabytes"])
    shutil.rmtree(folder)


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description="Commands over many clips.")
    parser.add_argument("clips", type=int)
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as folder:
        for name, seconds, megabytes in measured(Path(folder, "scale"), clips):
            print(f"{clips:,} clips: {name}: {seconds:.1f} s, {megabytes:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
