"""Make roots to remove videos from, and search every byte of a root for removed data."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.records import Source
from manifests.sources import Registered
from pipeline.config import Config
from pipeline.engine.engines import InlineEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.media.media_store import MediaTar
from pipeline.pack import groups
from pipeline.pack.publish import pack
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.removal.procedure import Request, remove_videos
from tests.media import store
from tests.pipeline.test_pack import clip, footage, ok, transcript, video, video_id
from tests.pipeline.test_pack_tasks import annotated

SETTINGS = PackSettings(val=0.3, shard_mb=1)
KEEPS = ("removed.jsonl", "00-source/")  # files that may name what was removed


def write(make: Any, numbers: Sequence[int]) -> object:
    return InlineEngine().map([LanePlan(make)], numbers)


def source(number: int) -> Source:
    made = video(number)
    return Source(id=made.source, uri=f"/films/{made.uri}", bytes=100 + number, stamp="1", sha256=video_id(number) * 3)


def plain(root: Path, parts: Sequence[Sequence[int]]) -> Plan:
    """A run without a model whose manifests are made up: quicker to pack than `annotated`."""
    plan = Config().plan(str(root))
    for part, members_of in enumerate(parts):
        _commit(root, plan, part, members_of)
    return plan


def _commit(root: Path, plan: Plan, part: int, numbers: Sequence[int]) -> None:
    ingest, split, extract, transcribe = (planned.manifest for planned in plan.steps)
    path = extract.path(part, "tar")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    tar, videos = MediaTar(path, str(root / path)), [video(n) for n in numbers]
    clips = {video_id(n): [clip(n, place) for place in range(2)] for n in numbers}
    every = [each for of in clips.values() for each in of]
    ingest.commit(part, [v.source for v in videos], [ok(v.source, v) for v in videos])
    split.commit(part, list(clips), [ok(name, *of) for name, of in clips.items()])
    extract.commit(part, [c.id for c in every], [ok(c.id, footage(c, tar, silent=False)) for c in every])
    tar.close()
    transcribe.commit(part, [c.id for c in every], [ok(c.id, transcript(c, "one two three")) for c in every])


def register(plan: Plan, parts: Sequence[Sequence[int]]) -> None:
    rows = [Registered(source(n), part, place) for part, of in enumerate(parts) for place, n in enumerate(of)]
    assert plan.sources.write(plan.sources.next, rows)


@cache
def _packed_root(parts: tuple[tuple[int, ...], ...], largest: int, asked: bool) -> Path:
    """A run that has packed, with its sources. largest: `LARGEST_GROUP`, which it was packed with."""
    root = Path(tempfile.mkdtemp(dir=store()), "root")
    plan = annotated(root, parts) if asked else plain(root, parts)
    register(plan, parts)
    pack(plan, SETTINGS, write)
    return root


def made_root(root: Path, parts: Sequence[Sequence[int]], asked: bool = False) -> Plan:
    """A copy of a run that has packed: made once for equal parts. asked: with the steps that ask a model."""
    made = _packed_root(tuple(map(tuple, parts)), groups.LARGEST_GROUP, asked)
    shutil.copytree(made, root, dirs_exist_ok=True)
    return annotated(root, ()) if asked else plain(root, ())


def take_out(plan: Plan, *names: str, note: str = "") -> Sequence[str]:
    return remove_videos(plan, SETTINGS, write, Request(names, note))


def found(root: str | Path, needles: Iterable[bytes]) -> list[str]:
    """Files of a root that hold one of these, in their names, their bytes or their rows; but for those that may."""
    wanted = list(needles)
    hits = []
    for path in sorted(Path(root).rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and not name.startswith(KEEPS):
            pieces = [name.encode(), *readings(path)]
            hits += [name] * any(needle in piece for piece in pieces for needle in wanted)
    return hits


def readings(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and those of its rows where they are compressed."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        yield repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
        yield repr(pq.read_metadata(io.BytesIO(data)).metadata).encode()
    if path.suffix == ".arrow":
        yield repr(pa.ipc.open_file(data).read_all().to_pylist()).encode()


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as file:
        return {member.name: file.extractfile(member).read() for member in file}  # type: ignore[union-attr]


def media(root: str | Path) -> dict[str, bytes]:
    """Every member of the tars of extract, by its name."""
    return {name: data for tar in sorted(Path(root).glob("*-extract-*/*.tar")) for name, data in members(tar).items()}


def rows(plan: Plan, place_too: bool = True) -> dict[str, list[dict[str, Any]]]:
    """The rows of every step; without the places of media where asked."""
    return {
        planned.step.name: [
            without_places(row) if not place_too else row
            for part in sorted(planned.manifest.committed())
            for row in planned.manifest.read(part).to_pylist()
        ]
        for planned in plan.steps
    }


def without_places(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value["size"] if isinstance(value, dict) and "offset" in value else value for name, value in row.items()
    }
