"""One record never affects another: a record that dies, hangs, eats memory or raises is one `failed` row.

In: toy steps over sources that misbehave. Out: rows, and how often each record ran.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from manifests import storage
from manifests.journal import Journal
from manifests.ledger import Counts, Manifest
from manifests.records import Outcome, Source
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.worker import StepWorker
from pipeline.media.media_store import MediaReader, media_of
from pipeline.run import lanes
from pipeline.sources.scratch import remove_scratch, scratch_folder
from pipeline.state.ledger_law import law_violations, read_counts
from pipeline.state.reopen import reopen_failed, reopen_part
from pipeline.step import Step, batches
from stages import tar_format
from tests import toys
from tests.killing import Killed, errors_as_rows, killed_at
from tests.object_store import bucket
from tests.toys import Crack, Film, Polish, Reel, Take, Traced

BAD = {
    11: ("exit", "killed its worker twice"),
    36: ("exit", "killed its worker twice"),
    60: ("hang", "took longer than its limit of 2 s"),
    110: ("hang locked", "took longer than its limit of 2 s"),
    130: ("eat", "took more memory than its limit of 0.4 GB"),
    190: ("raise", "ValueError: this one is bad"),
}
DEEDS = [BAD[n][0] if n in BAD else "ok" for n in range(200)]


def reasons(bad: dict[int, tuple[str, str]]) -> dict[str, str]:
    return {f"s{n:04d}": reason for n, (_, reason) in bad.items()}


def runs(trace: Path, step: str = "take") -> Counter[str]:
    """How often the step was given each input."""
    return Counter({line.split()[1]: n for line, n in toys.traced(trace).items() if line.split()[0] == step})


def test_the_bad_ones_fail_and_nobody_else(tmp_path: Path, engine: InlineEngine | RayEngine) -> None:
    trace = tmp_path / "trace"
    steps = [Take(Traced(trace=str(trace)))]
    plan, parts = toys.planned(tmp_path, steps, DEEDS, per_part=25, seconds=2.0, memory_gb=0.4)
    toys.apply(plan, parts, engine)
    taken = plan.steps[0].manifest
    assert toys.failures(taken) == reasons(BAD)
    total = taken.total()
    assert (total.inputs, total.ok, total.dropped, total.failed, total.outputs) == (200, 194, 0, 6, 194)
    again = {name: n for name, n in runs(trace).items() if n != 1}
    assert again == {"s0011": 2, "s0036": 2}  # a death may have been chance
    assert len(runs(trace)) == 200
    assert not list(tmp_path.rglob("*.journal"))
    assert not list(tmp_path.rglob("*.draft*"))


def test_details_say_how_it_died_and_where(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["odd signal", "leave", "raise"], per_part=3)
    toys.apply(plan, parts, InlineEngine())
    found = {o.input: (o.reason, o.detail or "") for o in toys.outcomes(plan.steps[0].manifest)}
    assert found["s0000"] == ("killed its worker twice", "signal 37")
    assert found["s0001"] == ("killed its worker twice", "exit code 1\nno more")
    assert "complain" in found["s0002"][1]


def test_a_bad_record_does_not_take_its_batch_along(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bad = {3: BAD[11], 12: BAD[190], 22: ("hang", "took longer than its limit of 1 s")}
    deeds = [bad[n][0] if n in bad else "ok" for n in range(40)]
    plan, parts = toys.planned(tmp_path, [Take(Traced(trace=str(trace)))], deeds, 20, batch=5, seconds=1.0)
    toys.apply(plan, parts, InlineEngine())
    assert toys.failures(plan.steps[0].manifest) == reasons(bad)
    assert plan.steps[0].manifest.total().ok == 37
    beside = {name: n for name, n in runs(trace).items() if n > 1 and name not in reasons(bad)}
    # those before it in its batch ran there and alone; those after it, alone
    assert beside == dict.fromkeys(["s0000", "s0001", "s0002", "s0010", "s0011", "s0020", "s0021"], 2)


def test_a_worker_that_vanishes_is_blamed_on_what_it_had_in_flight(tmp_path: Path, ray_here: None) -> None:
    trace = tmp_path / "trace"
    deeds = ["kill worker" if n in {4, 13} else "ok" for n in range(20)]
    plan, parts = toys.planned(tmp_path / "one", [Take(Traced(trace=str(trace)))], deeds, per_part=10)
    batched, _ = toys.planned(tmp_path / "many", [Take()], deeds, per_part=10, batch=4)
    RayEngine().map([*lanes(plan.steps, isolate=True), *lanes(batched.steps, isolate=True)], parts)
    twice = "killed its worker twice"
    for made in (plan, batched):
        assert toys.failures(made.steps[0].manifest) == {"s0004": twice, "s0013": twice}
        assert made.steps[0].manifest.total().ok == 18
    assert runs(trace) == Counter({f"s{n:04d}": 2 if n in {4, 13} else 1 for n in range(20)})
    assert not list(tmp_path.rglob("*.journal"))


def test_an_answer_too_few_an_empty_one_and_a_drop(tmp_path: Path) -> None:
    deeds = ["ok", "few", "nothing", "drop", "bad media"]
    plan, parts = toys.planned(tmp_path, [Take()], deeds, per_part=5, batch=5)
    toys.apply(plan, parts, InlineEngine())
    found = {o.input: (o.status, o.reason) for o in toys.outcomes(plan.steps[0].manifest)}
    assert found == {
        "s0000": ("ok", None),
        "s0001": ("failed", "step 'take' gave 0 answers for 1 inputs"),
        "s0002": ("failed", "the step gave no answer"),
        "s0003": ("dropped", "unwanted"),
        "s0004": ("failed", "no frame can be decoded"),
    }


def test_what_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    deeds = ["ok", "give text for a number", "give a half", "give another type", "give bytes of a name", "ok"]
    plan, parts = toys.planned(tmp_path, [Take()], deeds, per_part=6, batch=3)
    toys.apply(plan, parts, InlineEngine())
    said = "step 'take' gave a Pebble that cannot be stored: "
    assert toys.failures(plan.steps[0].manifest) == {
        "s0001": said + "weight is '7', not int",
        "s0002": said + "weight is 0.5, not int",
        "s0003": said + "it is a Grain",
        "s0004": said + "source is '\\udcff', not str",
    }


def test_a_record_made_twice_is_not_lost_in_silence(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok", "give the first again", "ok"], per_part=3)
    toys.apply(plan, parts, InlineEngine())
    assert toys.failures(plan.steps[0].manifest) == {"s0001": "made a record that is there already"}


def test_errors_that_quote_any_bytes_become_rows(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["quote bytes", "drop with bytes"], per_part=2)
    toys.apply(plan, parts, InlineEngine())
    said = [o.reason for o in toys.outcomes(plan.steps[0].manifest)]
    assert said == ["ValueError: cannot read \\udcff.mp4", "is \\udcff.mp4"]


def test_both_engines_give_the_same_rows_and_media(tmp_path: Path, ray_here: None) -> None:
    deeds = ["drop" if n % 7 == 3 else "raise" if n == 5 else "ok" for n in range(30)]
    steps = [Take(), Crack(), Polish(), Film()]
    tables, bytes_of = [], []
    for name, engine in (("inline", InlineEngine()), ("ray", RayEngine())):
        plan, parts = toys.planned(tmp_path / name, steps, deeds, per_part=10)
        toys.apply(plan, parts, engine)
        manifests = [planned.manifest for planned in plan.steps]
        tables.append([m.read(part).drop_columns("seconds") for m in manifests for part in parts])
        bytes_of.append(tars(plan.root))
        assert [m.total().ok for m in manifests] == [25, 25, 75, 29]
    assert tables[0] == tables[1]
    assert len(bytes_of[0]) == 3
    assert bytes_of[0] == bytes_of[1]


def tars(root: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(root).rglob("*.tar"))}


def test_a_record_that_dies_after_it_kept_bytes_leaves_no_trace(tmp_path: Path) -> None:
    deeds = [{4: "exit", 7: "raise", 15: "crash"}.get(n, "ok") for n in range(20)]
    plan, parts = toys.planned(tmp_path, [Film()], deeds, per_part=10)
    toys.apply(plan, parts, InlineEngine())
    manifest = plan.steps[0].manifest
    assert set(toys.failures(manifest)) == {"s0004", "s0007", "s0015"}
    kept = [reel for o in toys.outcomes(manifest) for reel in o.records if isinstance(reel, Reel)]
    contents = tars(manifest.root)
    names = [member.name for tar in contents.values() for member in tar_format.members(memoryview(tar))]
    assert names == [f"{reel.id}.{kind}" for reel in kept for kind in ("mjpg", "wav")]
    for reel in kept:
        for media, data in (
            (reel.film, reel.id.encode() * (int(reel.id[1:]) % 7 + 1)),
            (reel.sound, f"sound of {reel.id}".encode()),
        ):
            assert (tmp_path / media.uri).read_bytes()[media.offset : media.offset + media.size] == data


def test_retry_runs_what_failed_and_nothing_else(tmp_path: Path) -> None:
    trace, weights = tmp_path / "trace", tmp_path / "weights"
    settings = Traced(trace=str(trace))
    deeds = [f"need {weights}" if n in {3, 8} else "raise" if n == 4 else "ok" for n in range(20)]
    plan, parts = toys.planned(tmp_path, [Take(settings), Crack(settings), Polish(settings)], deeds, per_part=5)
    toys.apply(plan, parts, InlineEngine())
    assert set(toys.failures(plan.steps[0].manifest)) == {"s0003", "s0004", "s0008"}
    trace.unlink()
    weights.touch()
    reopen_failed(plan, None)
    toys.apply(plan, parts, InlineEngine())
    assert set(toys.failures(plan.steps[0].manifest)) == {"s0004"}
    assert [planned.manifest.total().ok for planned in plan.steps] == [19, 19, 57]
    pieces = [f"p-{name}-{n}" for name in ("s0003", "s0008") for n in range(3)]
    again = [f"take {name}" for name in ("s0003", "s0004", "s0008")]
    again += ["crack p-s0003", "crack p-s0008", *(f"polish {piece}" for piece in pieces)]
    assert toys.traced(trace) == Counter(again)


def kept_bytes(manifest: Manifest) -> dict[str, tuple[bytes, bytes]]:
    """What the references of the rows read, by the ids of the reels."""
    read = MediaReader(manifest.root)
    reels = [reel for o in toys.outcomes(manifest) for reel in o.records if isinstance(reel, Reel)]
    return {reel.id: (bytes(read(reel.film)), bytes(read(reel.sound))) for reel in reels}


def bytes_of(name: str) -> tuple[bytes, bytes]:
    return name.encode() * (int(name[1:]) % 7 + 1), b"sound of " + name.encode()


def test_retry_of_media_runs_what_failed_and_keeps_the_rest(tmp_path: Path) -> None:
    weights, trace = tmp_path / "weights", tmp_path / "trace"
    deeds = [f"need {weights}" if n == 3 else "ok" for n in range(20)]
    plan, parts = toys.planned(tmp_path / "twice", [Film(Traced(trace=str(trace)))], deeds, per_part=10)
    toys.apply(plan, parts, InlineEngine())
    weights.touch()
    reopen_failed(plan, None)
    toys.apply(plan, parts, InlineEngine())
    assert kept_bytes(plan.steps[0].manifest) == {name: bytes_of(name) for name in (f"s{n:04d}" for n in range(20))}
    assert runs(trace, "film") == Counter({f"s{n:04d}": 2 if n == 3 else 1 for n in range(20)})


def test_a_late_attempt_leaves_the_rows_and_the_media_of_the_one_that_was_faster(tmp_path: Path) -> None:
    """A worker pauses before it places its tar; another commits the part with other bytes; the first continues."""
    plan, parts = toys.planned(tmp_path, [Film()], ["ok"] * 3, per_part=3)
    manifest = plan.steps[0].manifest
    late, places = plan.steps[0], Journal.record_place

    def slow(self: Journal, draft: str, place: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "record_place", places)
            patch.setattr(toys, "FRAME", b"other ")
            InlineEngine().map(lanes(plan.steps, isolate=False), parts)
        places(self, draft, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "record_place", slow)
        InlineEngine().map(lanes([late], isolate=False), parts)
    assert [film for film, _ in kept_bytes(manifest).values()] == [
        (b"other " + f"s{n:04d}".encode()) * (n % 7 + 1) for n in range(3)
    ]
    named = {media.uri for o in toys.outcomes(manifest) for media in media_of(o)}
    assert named == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tar")}


@pytest.mark.parametrize("step", [Take, Film])
@pytest.mark.parametrize("place", ["disk", "store"])
def test_a_worker_that_was_cut_off_commits_nothing_into_a_part_that_was_reopened(
    step: type[Step[Any, Any]], place: str, tmp_path: Path
) -> None:
    with bucket("zombies") if place == "store" else nullcontext(str(tmp_path)) as root:
        plan, parts = toys.planned(f"{root}/{step.name}", [step()], ["ok"] * 3, per_part=3)
        (planned,) = plan.steps
        attempt = StepWorker._run_batch

        def reopened_meanwhile(self: StepWorker, batch: Sequence[Any], context: Any) -> Iterator[Outcome]:
            yield from attempt(self, batch, context)
            reopen_part(planned, parts[0])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StepWorker, "_run_batch", reopened_meanwhile)
            (aside,) = InlineEngine().map(lanes(plan.steps, isolate=False), parts)
        assert "was reopened by another run meanwhile" in str(aside)
        assert not planned.manifest.has(parts[0])
        assert InlineEngine().map(lanes(plan.steps, isolate=False), parts) == []
        assert planned.manifest.total().ok == 3
        assert not [e.path for e in storage.listing(plan.root, recursive=True) if "journal" in e.path]


@pytest.fixture
def tame() -> Iterator[None]:
    with errors_as_rows():
        yield


def test_a_retry_that_is_killed_loses_nothing(tmp_path: Path, tame: None) -> None:
    """The retry is killed at each write: its records pass all steps, or are still to be retried."""
    for moment in range(1, 12):
        root, weights = tmp_path / f"{moment}", tmp_path / f"weights{moment}"
        deeds = [f"need {weights}" if n in {1, 4} else "ok" for n in range(6)]
        plan, parts = toys.planned(root, [Take(), Crack(), Polish()], deeds, per_part=3)
        toys.apply(plan, parts, InlineEngine(), isolate=False)
        weights.touch()
        with suppress(Killed), killed_at(moment, after=False):
            reopen_failed(plan, None)
        toys.apply(plan, parts, InlineEngine(), isolate=False)
        assert list(law_violations(plan, read_counts(plan))) == []
        reopen_failed(plan, None)
        toys.apply(plan, parts, InlineEngine(), isolate=False)
        assert [planned.manifest.total().ok for planned in plan.steps] == [6, 6, 18]
        assert list(law_violations(plan, read_counts(plan))) == []


def test_a_root_whose_law_is_broken_says_so_and_a_retry_mends_it(tmp_path: Path, tame: None) -> None:
    """A killed retry of an earlier release left a later step with fewer inputs than there are outputs."""
    weights = tmp_path / "weights"
    deeds = ["ok", f"need {weights}", "ok"]
    plan, parts = toys.planned(tmp_path, [Take(), Crack()], deeds, per_part=3)
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    weights.touch()
    reopen_part(plan.steps[0], parts[0])
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    (fault,) = law_violations(plan, read_counts(plan))
    assert str(fault) == (
        "step 'crack', part 0: it has 2 inputs, but 'take' gives 3: `ola run --retry` does the part again"
    )
    reopen_failed(plan, None)
    toys.apply(plan, parts, InlineEngine(), isolate=False)
    assert [planned.manifest.total().ok for planned in plan.steps] == [3, 3]


def test_what_a_redone_step_does_not_give_any_more_is_left_out(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.touch()
    deeds = ["ok", f"need {weights}", "raise", "ok"]
    plan, parts = toys.planned(tmp_path, [Film(), toys.Watch()], deeds, per_part=4)
    toys.apply(plan, parts, InlineEngine())
    weights.unlink()
    reopen_part(plan.steps[1], parts[0])
    reopen_part(plan.steps[0], parts[0], lambda outcome: False)
    toys.apply(plan, parts, InlineEngine())
    assert [p.manifest.total().ok for p in plan.steps] == [2, 2]


def test_scratch_of_killed_workers_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    long_ago = 1_000_000_000
    left, fresh, other = (tmp_path / name for name in ("ola-scratch-old", "ola-scratch-new", "other-old"))
    for folder in (left, fresh, other):
        folder.mkdir()
        (folder / "copy").write_bytes(b"x")
    with scratch_folder() as held:
        for folder in (left, other, Path(held)):
            os.utime(folder, (long_ago, long_ago))
        remove_scratch()
        assert {path.name for path in tmp_path.iterdir()} == {fresh.name, other.name, Path(held).name}


def test_a_part_that_is_committed_is_not_touched(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    plan, parts = toys.planned(tmp_path, [Take(Traced(trace=str(trace)))], ["ok"] * 6, per_part=3)
    toys.apply(plan, parts, InlineEngine())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    for _ in range(2):
        InlineEngine().map(lanes(plan.steps, isolate=True), parts)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before
    assert sum(toys.traced(trace).values()) == 6


def test_isolate_false_runs_the_step_in_this_process(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take(), Film()], ["ok", "drop", "few"], per_part=3, batch=2)
    InlineEngine().map(lanes(plan.steps, isolate=False), parts)
    assert toys.failures(plan.steps[0].manifest) == {"s0002": "step 'take' gave 0 answers for 1 inputs"}
    plan, parts = toys.planned(tmp_path / "raise", [Take()], ["raise"], per_part=1)
    with pytest.raises(ValueError, match="this one is bad"):
        InlineEngine().map(lanes(plan.steps, isolate=False), parts)


def test_neighbours_that_agree_share_a_batch() -> None:
    sources = [Source(id=f"{n}", uri="x", bytes=size) for n, size in enumerate([1, 1, 2, 1, 3, 3, 3])]
    step = toys.Together()
    assert [[s.id for s in batch] for batch in batches(step, 2, sources)] == [["0", "1"], ["2"], ["3"], ["4", "5", "6"]]
    assert [len(batch) for batch in batches(Take(), 3, sources)] == [3, 3, 1]


def test_counts_add_up(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [Take()], ["ok", "drop", "raise", "drop"], per_part=2)
    toys.apply(plan, parts, InlineEngine())
    total = plan.steps[0].manifest.total()
    total.seconds = 0.0
    assert total == Counts(4, 1, 2, 1, 1, 0.0, {"unwanted": 2, "ValueError: this one is bad": 1})
