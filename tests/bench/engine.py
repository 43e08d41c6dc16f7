"""Benchmark the overhead of the `ray` engine: a toy step that sleeps, on two workers.

Sleeping takes no CPU: the row shows what Ray, the sandboxes, the journals and the commits cost between the records, not
how they fare beside work that fills both cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.records import Source
from manifests.schema import from_rows
from pipeline.engine.engines import RayEngine
from pipeline.plan import build_plan
from pipeline.run import lanes
from pipeline.state.registration import register
from tests.bench.measure import Figure, Target
from tests.bench.toys import NAP_S, Nap, Rest
from tests.bench.videos import Videos

WORKERS, PARTS, A_PART = 2, 60, 2
IDEAL_S = PARTS * A_PART * NAP_S / WORKERS


@dataclass(frozen=True)
class Times:
    """Seconds until the first record began, from there to the last part's commit, and of all with the shutdown."""

    start: float
    work: float
    total: float


def measure(videos: Videos) -> Iterator[Figure]:
    """The work apart from the start of Ray, and all of it."""
    times = run(videos.folder / "naps")
    against = f"{PARTS * A_PART} x {NAP_S} s / {WORKERS} by arithmetic"
    what = f"engine ray, {PARTS * A_PART} records that sleep {NAP_S} s, {PARTS} parts, {WORKERS} workers"
    note = "from the first record's begin to the last commit; sleep, so overhead without contention"
    yield Figure("ray", what, against, "s", [times.work], [IDEAL_S], target=Target("<", 1.10), note=note)
    note = f"start of Ray, its actors and the sandboxes: {times.start:.1f} s"
    yield Figure("ray", "the same with start and shutdown of Ray", against, "s", [times.total], [IDEAL_S], note=note)


def run(root: Path) -> Times:
    """Register made-up sources, bring them through the toy step on Ray, and read off the times."""
    planned = build_plan(str(root), [Nap()])
    sources = [Source(id=f"{n:020d}", uri=f"nap-{n}", bytes=n) for n in range(PARTS * A_PART)]
    parts = register(planned.sources, sources, None, A_PART)
    manifest = planned.steps[0].manifest
    started, engine = time.time(), RayEngine(WORKERS)
    try:
        engine.map(lanes(planned.steps, isolate=True), parts)
    finally:
        engine.close()
    total = time.time() - started
    rests = [rest for part in parts for rest in from_rows(Rest, manifest.read(part).to_pylist())]
    assert len(rests) == PARTS * A_PART
    began = min(rest.began for rest in rests)
    committed = max(Path(manifest.uri(part)).stat().st_mtime for part in parts)
    return Times(began - started, committed - began, total)
