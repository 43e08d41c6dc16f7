"""Near-duplicates among many made fingerprints: seconds and memory, and how they grow.

    python -m tests.bench duplicates                 10,000 and 100,000 clips
    python -m tests.bench.duplicates 1000000         a million alone: 3 GB of disk

A made clip has 16 frames of six hashes and 18 landmarks of three, all at random, but for 2 % of the frames: those are
of 500 frames that many films share, such as titles. A tenth of the clips are copies of others in which 4 % of the bits
differ. Measured is the whole comparison: reading all rows, candidates, verification, groups, writing.

On two idle cores, in one process; seconds grow as clips to the power of 0.85 from the first row to the last (1.08 from
the second to the last):

| clips | seconds | MB | copies found | false pairs |
|---|---|---|---|---|
| 10,000 | 2.3 | 293 | all of 1,000 | 0 |
| 100,000 | 9.5 | 827 | all of 10,000 | 0 |
| 1,000,000 | 114 | 4,936 | all of 100,000 | 0 |
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.ledger import Manifest
from pipeline.config import Config
from pipeline.duplicates.grouping import PAIRS, update_duplicates
from pipeline.plan import Plan
from tests.bench import again
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos

SIZES = (10_000, 100_000)
PER_PART, PER_VIDEO = 5_000, 10  # clips
FRAMES, REGIONS, LANDMARKS, TEMPOS = 16, 6, 18, 3
COPIES, NOISE, COMMON = 0.1, 0.04, 0.02
COMPARE = "import sys; from tests.bench.duplicates import compare; compare(sys.argv[1])"
SECONDS, MEGABYTES = 600.0, 8000.0  # that a million clips may take
Bits = NDArray[np.uint64]


def measure(videos: Videos) -> Iterator[Figure]:
    """Seconds, memory and recall for each size, then the growth."""
    seconds = []
    for clips in SIZES:
        facts = measured(videos.folder / f"duplicates-{clips}", clips)
        seconds.append(facts["seconds"])
        for name, unit in (("seconds", "s"), ("megabytes", "MB"), ("recall", "share")):
            target = Target("≥", 0.99, "share") if name == "recall" else None
            yield Figure("duplicates", f"{name}, {clips:,} clips", "absolute", unit, [facts[name]], target=target)
    growth = math.log(seconds[-1] / seconds[0]) / math.log(SIZES[-1] / SIZES[0])
    what = f"growth from {SIZES[0]:,} to {SIZES[-1]:,} clips"
    yield Figure("duplicates", what, "1 is linear", "exponent", [growth], target=Target("≤", 1.1, "exponent"))


def measured(folder: Path, clips: int) -> dict[str, float]:
    """Make a root of so many clips, and compare them: seconds, megabytes, share of the copies found, false pairs."""
    root = folder / "root"
    copies = make_root(root, clips)
    facts = again.run([sys.executable, "-c", COMPARE, str(root)])
    rows = pq.read_table(root / PAIRS, columns=["clip", "other"])
    found = {frozenset(pair) for pair in zip(*(rows[name].to_pylist() for name in ("clip", "other")), strict=True)}
    right = {frozenset(pair) for pair in copies}
    return {**facts, "recall": len(found & right) / len(right), "false pairs": float(len(found - right))}


def compare(root: str) -> None:
    """Compare all clips of a root."""
    config = _config()
    update_duplicates(config.plan(root), config.dedup, (), lambda make, numbers: [make()(each) for each in numbers])


def _config() -> Config:
    return Config(extra_steps=("fingerprint",))


def make_root(root: Path, clips: int) -> list[tuple[str, str]]:
    """Write the rows of videos and fingerprints. Returns the pairs (copy, original)."""
    plan, draw = _config().plan(str(root)), np.random.default_rng(clips)
    common = draw.integers(0, 2**63, (500, REGIONS), np.uint64)
    copies: list[tuple[str, str]] = []
    for part, first in enumerate(range(0, clips, PER_PART)):
        frames, sounds = _random(draw, PER_PART, FRAMES * REGIONS, 63), _random(draw, PER_PART, LANDMARKS * TEMPOS, 64)
        shared = draw.random((PER_PART, FRAMES)) < COMMON
        frames.reshape(-1, REGIONS)[shared.ravel()] = common[draw.integers(0, len(common), int(shared.sum()))]
        copied = np.arange(0, int(PER_PART * COPIES))
        for hashes, bits in ((frames, 63), (sounds, 64)):
            hashes[copied + PER_PART // 2] = hashes[copied] ^ _noise(draw, hashes[copied].shape, bits)
        names = [_name(first + number) for number in range(PER_PART)]
        copies += [(names[number + PER_PART // 2], names[number]) for number in copied.tolist()]
        _write_part(plan, part, names, frames, sounds)
    return copies


def _random(draw: np.random.Generator, rows: int, columns: int, bits: int) -> Bits:
    return draw.integers(0, 2**bits - 1, (rows, columns), np.uint64, endpoint=True)


def _noise(draw: np.random.Generator, shape: tuple[int, ...], bits: int) -> Bits:
    flips = draw.random((*shape, bits)) < NOISE
    return np.asarray((flips * (np.uint64(1) << np.arange(bits, dtype=np.uint64))).sum(-1, dtype=np.uint64))


def _name(clip: int) -> str:
    start = clip % PER_VIDEO * 16_000
    return f"{clip // PER_VIDEO:020x}-{start:09d}-{start + 16_000:09d}"


def _write_part(plan: Plan, part: int, names: list[str], frames: Bits, sounds: Bits) -> None:
    times = np.tile(np.arange(FRAMES) * 1000 + 500, (len(names), 1))
    landmarks = np.tile(np.arange(LANDMARKS) * 850 + 300, (len(names), 1))
    _write(
        plan.find_step("fingerprint").manifest,
        part,
        {
            "id": pa.array(names),
            "length": pa.array([16.0] * len(names)),
            "frame_ms": _lists(times),
            "frames": _lists(frames.view(np.int64)),
            "texture": _lists(np.full_like(times, 30)),
            "landmark_ms": _lists(landmarks),
            "landmarks": _lists(sounds.view(np.int64)),
        },
    )
    videos = sorted({name[:20] for name in names})
    sizes = pa.array([640 + int(video, 16) % 3 for video in videos])
    _write(plan.find_step("ingest").manifest, part, {"id": pa.array(videos), "width": sizes, "height": sizes})


def _lists(values: NDArray[np.int64]) -> pa.Array:
    ends = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values.ravel()))


def _write(manifest: Manifest, part: int, columns: dict[str, pa.Array]) -> None:
    rows = len(columns["id"])
    whole = {"status": pa.array(["ok"] * rows), **columns}
    arrays = [whole.get(field.name, pa.nulls(rows, field.type)) for field in manifest.schema]
    schema = pa.schema([field.with_nullable(True) for field in manifest.schema])
    path = Path(manifest.uri(part))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


def main() -> None:
    """Print what one size takes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.duplicates", description="Made fingerprints.")
    parser.add_argument("clips", type=int)
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as folder:
        facts = measured(Path(folder), clips)
    limits = f"(at most {SECONDS:.0f} s, {MEGABYTES:.0f} MB)" if clips == 1_000_000 else ""
    print(f"{clips:,} clips {limits}: {facts}", flush=True)


if __name__ == "__main__":
    main()
