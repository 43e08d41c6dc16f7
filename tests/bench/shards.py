"""Benchmark writing and reading shards against webdataset: the same samples and disk, no fsync on either side.

The files stay in the page cache, so this is the cost of the format's code, not of a disk. Our side also makes digests
and an index; webdataset's neither.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.pack.writer import ShardWriter, index_bytes
from stages.shards import ShardReader
from tests.bench.measure import Figure, Target, interleaved
from tests.bench.videos import Videos

SIZES = {"json": 2_000, "mjpg": 800_000, "wav": 300_000}
DISTINCT = 64  # samples, 70 MB: more than a processor's cache holds, as in a real run
SAMPLES = 400  # 440 MB a round
ROUNDS = 5

Members = dict[str, bytes]


def samples() -> list[tuple[str, Members]]:
    """Keys and members; the bytes come again after DISTINCT samples."""
    contents = [{extension: os.urandom(size) for extension, size in SIZES.items()} for _ in range(DISTINCT)]
    return [(f"clip-{n:06d}", contents[n % DISTINCT]) for n in range(SAMPLES)]


def write_ours(path: Path, content: list[tuple[str, Members]]) -> None:
    """A tar with digests, and its index."""
    with ShardWriter(str(path)) as writer:
        for key, members in content:
            writer.add(key, members)
    Path(f"{path}.idx").write_bytes(index_bytes(writer.offsets))


def write_theirs(path: Path, content: list[tuple[str, Members]]) -> None:
    """A tar by webdataset, its encoders off, since the members are bytes already."""
    import webdataset

    with webdataset.ShardWriter(str(path), maxsize=1e12, verbose=0, encoder=False, mtime=0) as writer:
        for key, members in content:
            writer.write({"__key__": key, **members})


def read_ours(path: Path) -> int:
    """Bytes of all members, each copied out of the mapping."""
    with ShardReader(path) as reader:
        return sum(len(bytes(view)) for sample in reader for view in sample.members.values())


def read_theirs(path: Path) -> int:
    """Bytes of all members, as webdataset hands them out undecoded."""
    import webdataset

    dataset = webdataset.WebDataset(str(path), shardshuffle=False)
    return sum(len(sample[extension]) for sample in dataset for extension in SIZES)


def measure(videos: Videos) -> Iterator[Figure]:
    """The row about writing and the row about reading."""
    folder = videos.folder / "shards"
    folder.mkdir()
    try:
        yield _write(folder)
        yield _read(folder)
    finally:
        shutil.rmtree(folder)


def _write(folder: Path) -> Figure:
    content, ours_to, theirs_to = samples(), folder / "ours.tar", folder / "theirs-%06d.tar"

    def ours() -> None:
        write_ours(ours_to, content)

    def theirs() -> None:
        write_theirs(theirs_to, content)

    interleaved(1, ours, theirs, lambda: _fresh(folder))
    seconds, others = interleaved(ROUNDS, ours, theirs, lambda: _fresh(folder))
    megabytes = SAMPLES * sum(SIZES.values()) / 1e6
    return Figure(
        "shards",
        f"write {SAMPLES} samples of 1.1 MB: ShardWriter, with BLAKE3 digests and .idx",
        "webdataset.ShardWriter(encoder=False), no digests, no index",
        "MB/s", [megabytes / s for s in seconds], [megabytes / s for s in others], "speed", Target("≥", 2.0),
    )  # fmt: skip


def _fresh(folder: Path) -> None:
    """Unlink what the turn before wrote, so that each pays for its own pages, and for no other's."""
    for path in folder.iterdir():
        path.unlink()


def _read(folder: Path) -> Figure:
    path = folder / "read.tar"
    write_ours(path, samples())
    total = SAMPLES * sum(SIZES.values())
    assert read_ours(path) == read_theirs(path) == total
    ours, theirs = interleaved(ROUNDS, lambda: read_ours(path), lambda: read_theirs(path))
    return Figure(
        "shards",
        f"read {SAMPLES} samples of 1.1 MB as bytes: ShardReader, mapped, with .idx",
        "webdataset.WebDataset(shardshuffle=False), undecoded, the same tar",
        "MB/s", [total / 1e6 / s for s in ours], [total / 1e6 / s for s in theirs], "speed", Target("≥", 3.0),
    )  # fmt: skip
