"""Benchmark videos in containers against the same videos as files, and the listing of many tars.

    python -m tests.bench containers                 200 videos; 100 tars with 1,000 members each
    python -m tests.bench.containers 2000 1000       2,000 videos; 1,000 tars: half an hour on two cores

Alone on two cores, beside files: 400 videos take 1.01x the seconds in tars and 0.91x in Parquet, 2,000 videos 0.99x and
1.12x (over the bound); memory is 0.96x to 1.01x.
1,000 tars were listed in 37 s with 530 MB in the driver, over the bound; 498 MB without pandas (pyarrow imports it).

Short videos, so that what a container costs shows beside what decoding costs. The tars to list are holes but for their
headers and texts: what video2dataset writes, 333 videos with `.json` and `.txt`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.tar_format import header, padded
from tests.bench.again import OLA, run
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos, ffmpeg

VIDEOS, TARS = 200, 100
A_TAR = 100  # videos of a container that is read
KEYS = 333  # videos of a tar that is listed
FORMS = ("files", "tars", "Parquet")
LISTED = 2_000_000  # bytes that a header says a video has
STEPS = ("--set", "steps=[ingest,split,extract]")
REGISTER = """
import sys
from functools import partial
from pipeline.config import Config
from pipeline.state.container_index import expand_containers
from pipeline.state.content_digests import SourceDigests, live_uris
from pipeline.sources.discovery import discover
from pipeline.engine.engines import RayEngine
from pipeline.state.registration import register
config = Config(inputs=(sys.argv[1],))
plan, engine = config.plan(sys.argv[2]), RayEngine(2)
found = expand_containers(discover(config.inputs, plan.root), plan.sources.folder_uri, engine.map)
register(plan.sources, found, None, None, digests=SourceDigests(plan, engine.map), live=partial(live_uris, found))
engine.close()
"""


def measure(videos: Videos) -> Iterator[Figure]:
    """Two rows for each form beside files, two for the listing."""
    yield from read(videos.folder / "read", VIDEOS)
    yield from listed(videos.folder / "listed", TARS)


def read(folder: Path, many: int) -> Iterator[Figure]:
    """`ingest`, `split` and `extract` of the same videos in each form."""
    make(folder, many)
    found = {}
    for form in FORMS:
        found[form] = run((*OLA, "run", str(folder / form), "--root", str(folder / f"root-{form}"), *STEPS))
    for form in FORMS[1:]:
        for unit, name in (("s", "seconds"), ("MB", "megabytes")):
            ours, theirs = [float(found[form][name])], [float(found["files"][name])]
            what = f"ingest, split, extract of {many:,} videos of 2 s in {form}"
            yield Figure("containers", what, "the same as files", unit, ours, theirs, target=Target("≤", 1.1))
    shutil.rmtree(folder)


def make(folder: Path, many: int) -> None:
    """The videos in each form."""
    for form in FORMS:
        (folder / form).mkdir(parents=True)
    film = folder / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=2", "-f", "lavfi", "-i", "sine=d=2", "-shortest", film)
    for n in range(many):
        data = film.read_bytes() + n.to_bytes(4, "big")  # so that no two are copies
        (folder / "files" / f"{n:06d}.mp4").write_bytes(data)
    files = sorted((folder / "files").iterdir())
    for n in range(0, many, A_TAR):
        group = files[n : n + A_TAR]
        with tarfile.open(folder / "tars" / f"{n:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for file in group:
                tar.add(file, file.name)
        table = pa.table({"mp4": [file.read_bytes() for file in group]})
        pq.write_table(table, folder / "Parquet" / f"{n:06d}.parquet", row_group_size=32)


def listed(folder: Path, many: int) -> Iterator[Figure]:
    """From tars to parts: seconds and memory of the driver."""
    (folder / "in").mkdir(parents=True)
    for number in range(many):
        make_holes(folder / "in" / f"{number:05d}.tar", number)
    found = run((sys.executable, "-c", REGISTER, str(folder / "in"), str(folder / "root")))
    what = f"{many:,} tars with {3 * KEYS:,} members each into parts"
    for unit, name, bound in (("s", "seconds", 60.0), ("MB", "megabytes", 500.0)):
        yield Figure("containers", what, "absolute", unit, [float(found[name])], target=Target("≤", bound, unit))
    shutil.rmtree(folder)


def make_holes(path: Path, number: int) -> None:
    """A tar of which only headers and texts are written."""
    with path.open("wb") as file:
        for n in range(KEYS):
            key = f"{number:05d}{n:04d}"
            told = json.dumps({"url": f"https://example.org/{key}", "key": key}).encode()
            for name, size, data in (
                (f"{key}.mp4", LISTED + number * KEYS + n, b""),
                (f"{key}.json", len(told), told),
                (f"{key}.txt", 9, b"some text"),
            ):
                start = file.tell()
                file.write(header(name, size) + data)
                file.seek(start + 512 + padded(size))
        file.truncate(file.tell() + 1024)


def main() -> None:
    """Print the figures for the numbers that are given."""
    videos, tars = map(int, sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as name:
        for figure in (*read(Path(name, "read"), videos), *listed(Path(name, "listed"), tars)):
            print(figure.what, *figure.row()[4:], sep=" | ", flush=True)


if __name__ == "__main__":
    main()
