"""A killed part of media goes on where it was: the tar of a killed attempt is taken over, and no clip is made twice.

In: toy steps that keep media, `extract` on generated films, and SIGKILL in the middle of a part. Out: rows, tars, and
how often each record ran.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from manifests.ledger import Manifest
from manifests.records import Outcome
from pipeline.config import load
from pipeline.engine.engines import InlineEngine
from pipeline.engine.part_context import PartContext
from pipeline.media import extraction
from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.media_draft import MARK
from pipeline.media.media_store import MediaReader, media_of
from pipeline.run import Options, lanes, run
from pipeline.steps import extract
from tests import toys
from tests.killing import Killed, killed_at
from tests.media import pattern
from tests.object_store import bucket
from tests.test_project import ROOT
from tests.toys import Film, Reel, Serial, Traced

WORKER = """
import sys
from pipeline.engine.sandbox import Sandbox
from pipeline.sources.scratch import scratch_folder
from pipeline.engine.worker import StepWorker
from tests import toys
from tests.toys import Serial, Traced
root, trace, *deeds = sys.argv[1:]
plan, [part] = toys.planned(root, [Serial(Traced(trace=trace))], deeds, per_part=len(deeds))
with scratch_folder() as scratch:
    StepWorker(plan.steps[0], "session", Sandbox(plan.steps[0].step))(part, scratch)
"""
EXTRACT = """
import os, signal, sys
from pipeline.config import load
from pipeline.run import Options, run
from pipeline.engine.part_context import PartContext
videos, root, left, *sets = sys.argv[1:]
left, done = int(left), PartContext.done
def dying(self, outcome):
    global left
    done(self, outcome)
    left -= self.media is not None
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
PartContext.done = dying
run(load(None, sets, {"inputs": [videos]}), root, Options())
"""


def killed(code: str, *arguments: object, **environment: str) -> bool:
    """Run code in a process. Returns whether it was killed, and False where it came to its end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def kept_bytes(manifest: Manifest) -> dict[str, tuple[bytes, bytes]]:
    """Return what the references of the rows read, by the ids of the reels."""
    read = MediaReader(manifest.root)
    reels = [reel for o in toys.outcomes(manifest) for reel in o.records if isinstance(reel, Reel)]
    return {reel.id: (bytes(read(reel.film)), bytes(read(reel.sound))) for reel in reels}


def bytes_of(number: int) -> tuple[bytes, bytes]:
    name = f"s{number:04d}".encode()
    return name * (number % 7 + 1), b"sound of " + name


def runs(trace: Path) -> list[int]:
    """Return how often each record ran, in order of their numbers."""
    return [n for _, n in sorted(toys.traced(trace).items())]


def tars(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.rglob("*.tar"))}


def drafts(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if MARK in path.name]


def test_after_a_fault_only_what_has_no_answer_runs_again(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    deeds = [{4: "exit", 7: "raise"}.get(n, "ok") for n in range(20)]
    plan, parts = toys.planned(tmp_path, [Serial(Traced(trace=str(trace)))], deeds, per_part=20)
    toys.apply(plan, parts, InlineEngine())
    manifest = plan.steps[0].manifest
    assert toys.failures(manifest) == {"s0004": "killed its worker twice", "s0007": "ValueError: this one is bad"}
    assert runs(trace) == [{4: 3, 7: 2}.get(n, 1) for n in range(20)]
    assert kept_bytes(manifest) == {f"s{n:04d}": bytes_of(n) for n in range(20) if n not in {4, 7}}


@pytest.mark.parametrize("place", ["disk", "store"])
def test_a_worker_that_vanishes_costs_the_record_in_flight(place: str, tmp_path: Path) -> None:
    trace, temporary = tmp_path / "trace", tmp_path / "tmp"
    temporary.mkdir()
    deeds = ["kill worker" if n == 4 else "ok" for n in range(8)]
    with bucket("long") if place == "store" else nullcontext(str(tmp_path)) as root:
        ends = [killed(WORKER, f"{root}/run", trace, *deeds, TMPDIR=str(temporary)) for _ in range(3)]
        plan, _ = toys.planned(f"{root}/run", [Serial(Traced(trace=str(trace)))], deeds, per_part=8)
        assert ends == [True, True, False]
        assert toys.failures(plan.steps[0].manifest) == {"s0004": "killed its worker twice"}
        assert runs(trace) == [2 if n == 4 else 1 for n in range(8)]
        assert kept_bytes(plan.steps[0].manifest) == {f"s{n:04d}": bytes_of(n) for n in range(8) if n != 4}
    assert drafts(tmp_path) == []


@pytest.mark.parametrize("step", [Film, Serial])
@pytest.mark.parametrize("loss", ["all of it", "its second half"])
def test_what_is_lost_of_a_draft_is_made_again(step: type[Film], loss: str, tmp_path: Path) -> None:
    calm, trace = tmp_path / "calm", tmp_path / "trace"
    plan, parts = toys.planned(calm, [step()], ["ok"] * 8, per_part=8)
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    plan, parts = toys.planned(tmp_path / "lost", [step(Traced(trace=str(trace)))], ["ok"] * 8, per_part=8)
    with pytest.raises(Killed), dying_after(5):
        toys.apply(plan, parts, InlineEngine(), isolate=False)
    (draft,) = drafts(tmp_path)
    if loss == "all of it":
        draft.unlink()
    else:
        os.truncate(draft, kept_until(2))
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    again = 5 if loss == "all of it" else 3
    assert sum(runs(trace)) == 8 + again
    assert tars(tmp_path / "lost") == tars(calm)
    assert drafts(tmp_path) == []


def kept_until(count: int) -> int:
    """Return the bytes of a tar with the media of `count` reels: two members of a block and its header each."""
    return count * 2 * 1024


@contextmanager
def patched_done(count: int, then: Callable[[], None]) -> Iterator[None]:
    """While the block lasts, `then` is called once, after the outcome of this number is journalled."""
    done, left = PartContext.done, [count]

    def counting(context: PartContext, outcome: Outcome) -> None:
        done(context, outcome)
        left[0] -= 1
        if left[0] == 0:
            then()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartContext, "done", counting)
        yield


@contextmanager
def dying_after(count: int) -> Iterator[None]:
    """While the block lasts, a worker dies once it has journalled `count` outcomes."""
    with patched_done(count, die):
        yield


def die() -> None:
    """End this process, for all that the worker can tell."""
    raise Killed


@pytest.mark.parametrize("step", [Film, Serial])
@pytest.mark.parametrize("second", ["ends", "is killed"])
def test_two_attempts_at_once_write_into_a_draft_each(step: type[Film], second: str, tmp_path: Path) -> None:
    """The first attempt pauses after four records; a second one completes the part or dies; then the first resumes."""
    plan, parts = toys.planned(tmp_path, [step()], ["ok"] * 8, per_part=8)
    late, _ = toys.planned(tmp_path, [step()], ["ok"] * 8, per_part=8)

    def other() -> None:
        with suppress(Killed), dying_after(100 if second == "ends" else 6):
            InlineEngine().map(lanes(plan.steps, isolate=False), parts)

    with patched_done(4, other):
        InlineEngine().map(lanes(late.steps, isolate=False), parts)
    manifest = plan.steps[0].manifest
    assert kept_bytes(manifest) == {f"s{n:04d}": bytes_of(n) for n in range(8)}
    named = {media.uri for o in toys.outcomes(manifest) for media in media_of(o)}
    assert named == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tar")}
    assert drafts(tmp_path) == []


def test_after_two_attempts_that_were_killed_a_third_makes_the_same_tar(tmp_path: Path) -> None:
    made, parts = toys.planned(tmp_path / "calm", [Film()], ["ok"] * 8, per_part=8)
    toys.apply(made, parts, InlineEngine(), isolate=False)
    plan, parts = toys.planned(tmp_path / "killed", [Film()], ["ok"] * 8, per_part=8)

    def other() -> None:
        with suppress(Killed), dying_after(6):
            InlineEngine().map(lanes(plan.steps, isolate=False), parts)
        raise Killed

    with pytest.raises(Killed), patched_done(4, other):
        InlineEngine().map(lanes(plan.steps, isolate=False), parts)
    InlineEngine().map(lanes(plan.steps, isolate=False), parts)
    assert tars(tmp_path / "killed") == tars(tmp_path / "calm")
    assert drafts(tmp_path) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_between_the_tar_and_the_rows_costs_nothing(after: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    made, parts = toys.planned(tmp_path / "calm", [Film()], ["ok"] * 8, per_part=8)
    toys.apply(made, parts, InlineEngine(), isolate=False)
    plan, parts = toys.planned(tmp_path / "killed", [Film(Traced(trace=str(trace)))], ["ok"] * 8, per_part=8)
    with pytest.raises(Killed), killed_at(1, after):
        toys.apply(plan, parts, InlineEngine(), isolate=False)
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    assert runs(trace) == [1] * 8
    assert tars(tmp_path / "killed") == tars(tmp_path / "calm")
    assert kept_bytes(plan.steps[0].manifest) == {f"s{n:04d}": bytes_of(n) for n in range(8)}
    modes = [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "killed").rglob("part-*"))]
    assert len(set(modes)) == 1
    assert drafts(tmp_path) == []


def test_rows_may_refer_to_the_tar_that_a_slower_attempt_has_placed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    plan, parts = toys.planned(tmp_path, [Film(Traced(trace=str(trace)))], ["ok"] * 3, per_part=3)
    manifest, commit = plan.steps[0].manifest, Manifest.commit_rows

    def slow(self: Manifest, part: int, table: pa.Table, may_be_compacted: bool = True) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Manifest, "commit_rows", commit)
            InlineEngine().map(lanes(plan.steps, isolate=False), parts)
        return commit(self, part, table, may_be_compacted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Manifest, "commit_rows", slow)
        InlineEngine().map(lanes(plan.steps, isolate=False), parts)
    assert runs(trace) == [1] * 3
    assert kept_bytes(manifest) == {f"s{n:04d}": bytes_of(n) for n in range(3)}
    named = {media.uri for o in toys.outcomes(manifest) for media in media_of(o)}
    assert named == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tar")}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of ten clips each."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(pattern(f"long-{number}.mp4", 20 + number / 4).read_bytes())
    return folder


SETS = ("split.shortest=1", "split.longest=2", "extract.frames.cap=4", "videos_per_part=3", "pack.shard_mb=1")


@pytest.mark.parametrize("moment", [1, 15])
def test_extract_goes_on_with_the_clip_in_hand(films: Path, moment: int, tmp_path: Path) -> None:
    calm, root = tmp_path / "calm", tmp_path / "killed"
    sets = [*SETS, "isolate=false"]
    clips = decoded(films, calm, sets)
    assert killed(EXTRACT, films, root, moment, *SETS)
    assert decoded(films, root, sets) == clips[moment:]
    assert shards(root) == shards(calm)
    assert tars(next(root.glob("*-extract-*"))) == tars(next(calm.glob("*-extract-*")))
    assert drafts(root) == []


def decoded(films: Path, root: Path, sets: list[str]) -> list[ClipRequest]:
    """Run to the end in this process. Returns the clips that were decoded."""
    requests: list[ClipRequest] = []
    extract_clips = extraction.extract_clips

    def noting(path: str, video: Any, wanted: Any, renderer: Any) -> Iterator[ExtractedClip]:
        requests.extend(wanted)
        return extract_clips(path, video, wanted, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "extract_clips", noting)
        run(load(None, sets, {"inputs": [str(films)]}), str(root), Options())
    return requests


def shards(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted((root / "shards").rglob("*.tar"))}
