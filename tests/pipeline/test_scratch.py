"""Copies of remote videos are deleted after their last step, and never exceed the free space."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from manifests import storage
from manifests.records import Drop, Source
from pipeline.engine.engines import InlineEngine
from pipeline.errors import Unavailable
from pipeline.plan import build_plan
from pipeline.run import lanes
from pipeline.sources.scratch import RESERVE, local_copy
from pipeline.state.registration import register
from tests import toys
from tests.object_store import bucket
from tests.toys import Crack, Grain, Pebble, Take, Traced

SIZE = 1000


@pytest.fixture(scope="module")
def store_at() -> Iterator[str]:
    with bucket("copies") as uri:
        for n in range(4):
            storage.write_bytes(f"{uri}/{n}.mp4", bytes([n]) * SIZE)
        yield uri


def copies(folder: Path) -> list[int]:
    """First bytes of the copies in a folder."""
    return sorted(path.read_bytes()[0] for path in folder.iterdir() if path.suffix != storage.STAMP)


def test_older_copies_make_room_and_where_there_is_none_nothing_is_fetched(
    store_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(folder: str) -> SimpleNamespace:
        held = sum(path.stat().st_size for path in Path(folder).iterdir() if path.suffix != storage.STAMP)
        return SimpleNamespace(free=RESERVE + 2 * SIZE - held)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for n in (0, 1):
        os.utime(local_copy(f"{store_at}/{n}.mp4", str(tmp_path), SIZE), (n, n))
    local_copy(f"{store_at}/0.mp4", str(tmp_path), SIZE)  # used again: 1 is the older one now
    local_copy(f"{store_at}/2.mp4", str(tmp_path), SIZE)
    assert copies(tmp_path) == [0, 2]
    with pytest.raises(Unavailable, match=r"no room in .* for .*3\.mp4: it has 0\.00 GB, and .* set TMPDIR"):
        local_copy(f"{store_at}/3.mp4", str(tmp_path), 3 * SIZE)


def test_what_a_killed_process_half_fetched_makes_room(
    store_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    half = tmp_path / f"copy{storage.DRAFT}-{gone.pid}-01234567"
    half.write_bytes(bytes(SIZE))
    os.utime(half, (1_000_000_000, 1_000_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE + (0 if half.exists() else SIZE)))
    local_copy(f"{store_at}/0.mp4", str(tmp_path), SIZE)
    assert copies(tmp_path) == [0]


def test_a_full_disk_is_no_fault_of_the_record(tmp_path: Path) -> None:
    made, parts = toys.planned(tmp_path, [Take()], ["ok", "disk full", "ok"], per_part=3)
    (aside,) = toys.apply(made, parts, InlineEngine())
    assert "No space left on device" in str(aside)
    assert not made.steps[0].manifest.committed()


class Reading(Take):
    """Takes what it fetched."""

    name = "reading"

    def original_uri(self, record: Source) -> str:
        return record.uri

    def run(self, batch: Sequence[Source]) -> list[list[Pebble] | Drop]:  # type: ignore[override]
        for source in batch:
            local_copy(source.uri, self.scratch, source.bytes)
            self.note(",".join(map(str, copies(Path(self.scratch)))))
        return [[Pebble(id=source.id, source=source.id, weight=source.bytes)] for source in batch]


class ReadingAgain(Crack):
    """Reads the original of a pebble once more."""

    name = "again"

    def original_uri(self, record: Pebble) -> str:
        return URIS[record.source]

    def run(self, batch: Sequence[Pebble]) -> list[list[Grain] | Drop]:
        for pebble in batch:
            local_copy(URIS[pebble.source], self.scratch, pebble.weight)
            self.note(",".join(map(str, copies(Path(self.scratch)))))
        return [[Grain(id=pebble.id, pebble=pebble.id, number=0)] for pebble in batch]


URIS: dict[str, str] = {}


def test_a_copy_goes_after_the_last_step_that_reads_it(store_at: str, tmp_path: Path) -> None:
    settings = Traced(trace=str(tmp_path / "trace"))
    URIS.update({f"{n}": f"{store_at}/{n}.mp4" for n in range(4)})
    steps = [Reading(settings), ReadingAgain(settings)]
    wants = {step.name: step.resources.model_copy(update={"cpus": 1.0}) for step in steps}
    made = build_plan(str(tmp_path / "root"), steps, wants)
    sources = [Source(id=name, uri=uri, bytes=SIZE) for name, uri in URIS.items()]
    parts = register(made.sources, sources, None, 4)
    InlineEngine().map(lanes(made.steps, isolate=False), parts)
    assert (tmp_path / "trace").read_text().splitlines() == [
        *(f"reading {','.join(map(str, range(n + 1)))}" for n in range(4)),
        *(f"again {','.join(map(str, range(n, 4)))}" for n in range(4)),
    ]
