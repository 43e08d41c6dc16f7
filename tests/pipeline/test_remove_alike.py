"""`ola remove --like` takes out re-encodes, cuts and crops of a video; `--trained` names what has learned from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load, load_run
from pipeline.duplicates.candidates import find_candidates, find_matches
from pipeline.duplicates.lookup import FilePrints, find_alike, fingerprint_files
from pipeline.errors import ConfigError
from pipeline.pack.check import check_run
from pipeline.removal.procedure import Request, remove_videos
from pipeline.removal.record import read_record, unfinished_sources
from pipeline.removal.trainings import find_learned
from pipeline.run import run
from pipeline.synthetic.world.changes import CHANGES
from stages.checkpoints import Checkpoints
from stages.training_log import READ_SCHEMA
from tests.bench.duplicate_films import change_film, make_film, swap_sound
from tests.killing import Killed, killed_at
from tests.pipeline.duplicates.test_relations import crowd
from tests.pipeline.removals import found, write
from tests.runs import WORDS, ola, rows, srt

SETS = ("isolate=false", "videos_per_part=2", "split.longest=12", "split.shortest=4", "pack.shard_mb=1")
STEP = "extra_steps=[fingerprint]"
COPIES = ("re-encode", "cut", "crop")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that no run has; below `in` its re-encode, cut and crop, other pictures to its sound, an unlike film."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "in").mkdir()
    film = make_film(folder / "film.mp4", 6101, 10.0)
    make_film(folder / "in" / "other.mp4", 6103, 8.0)
    change_film(film, folder / "in" / "re-encode.mp4", CHANGES["re-encode"].options)
    change_film(film, folder / "in" / "cut.mp4", ("-ss", "2.3", "-t", "6"))
    change_film(film, folder / "in" / "crop.mp4", CHANGES["crop 10 %"].options)
    swap_sound(make_film(folder / "picture.mp4", 6105, 10.0), film, folder / "in" / "sound.mp4")
    for file in (folder / "in").glob("*.mp4"):
        cues = [(n + 0.1, n + 0.8, f"{word} of {file.stem}") for n, word in enumerate(WORDS.split()[:5])]
        file.with_suffix(".srt").write_text(srt(*cues), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def plain(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without fingerprints."""
    root = tmp_path_factory.mktemp("plain") / "root"
    run(load(None, SETS, {"inputs": [str(films / "in")]}), str(root))
    return root


@pytest.fixture(scope="module")
def printed(films: Path, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with the step `fingerprint`."""
    root = Path(shutil.copytree(plain, tmp_path_factory.mktemp("printed") / "root"))
    run(load(None, [*SETS, STEP], {"inputs": [str(films / "in")]}), str(root))
    return root


@pytest.fixture(scope="module")
def asked(films: Path) -> FilePrints:
    return fingerprint_files([str(films / "film.mp4")], 12.0)


def videos(root: Path) -> dict[str, str]:
    """The id of each film's video."""
    return {Path(uri).stem: video for video, uri in rows(root, "SELECT id, uri FROM ingest WHERE status = 'ok'")}


def test_stored_media_are_compared_where_there_are_no_fingerprints(
    plain: Path, printed: Path, asked: FilePrints
) -> None:
    of_media, of_prints = (find_alike(load_run(str(root)).plan(str(root)), asked) for root in (plain, printed))
    assert of_media == of_prints != []


def test_copies_leave_a_run_and_unlike_films_stay(films: Path, plain: Path, asked: FilePrints, tmp_path: Path) -> None:
    root = Path(shutil.copytree(plain, tmp_path / "root"))
    names = videos(root)
    shown = ola("remove", root, "--like", films / "film.mp4", "--dry-run", "--json")
    assert shown.code == 0, shown
    facts = json.loads(shown.out)
    assert facts["done"] is False
    assert {each["video"] for each in facts["removed"]} == {names[name] for name in COPIES}
    alike = {each["video"]: each for each in facts["alike"]}
    assert {video: each["relation"] for video, each in alike.items()} == {
        names["re-encode"]: "copy",
        names["crop"]: "copy",
        names["cut"]: "part of",
    }
    cut = alike[names["cut"]]
    assert [cut[name] for name in ("start_ms", "file_start_ms", "file_end_ms")] == pytest.approx(
        [0, 2300, 8300], abs=300
    )
    assert {(each["video"], each["relation"]) for each in facts["stays"]} == {
        (names["sound"], "same sound, other picture")
    }
    assert videos(root) == names, "nothing was removed"
    with pytest.MonkeyPatch.context() as context:
        context.setattr("pipeline.cli.remove.fingerprint_files", lambda files, longest: asked)
        said = ola("remove", root, "--like", films / "film.mp4", "--note", "a right", "--yes")
        again = ola("remove", root, "--like", films / "film.mp4", "--yes")
    assert said.code == 0, said
    assert all(words in said.out for words in ("part of", "0:02", "alike in sound alone", "removed 3 sources"))
    assert videos(root).keys() == {"other", "sound"}
    assert found(root, [names[name].encode() for name in COPIES]) == []
    (line,) = read_record(str(root))
    assert (line["like"], line["note"]) == ([str(films / "film.mp4")], "a right")
    assert list(check_run(str(root))) == []
    assert (again.code, "no video is to be removed" in again.out) == (0, True)


def test_a_file_that_cannot_be_compared_and_a_question_amid_json_are_refused(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for arguments, words in (
        (("--like", tmp_path / "text.mp4", "--dry-run"), "--like: expected videos, got a file that is failed"),
        (("--like", tmp_path / "nothing.mp4", "--dry-run"), "nothing.mp4"),
        (("--json", "other.mp4"), "expected --yes or --dry-run"),
        (("--trained", tmp_path, "other.mp4", "--dry-run"), "expected the folder of a training"),
    ):
        said = ola("remove", plain, *arguments)
        assert said.code == 2, said
        assert words in said.err
        assert len(said.err.splitlines()) == 1, said.err


def test_a_kill_is_completed_without_the_file(printed: Path, asked: FilePrints, tmp_path: Path) -> None:
    names = videos(printed)
    for moment, after in ((5, False), (14, True)):
        root = Path(shutil.copytree(printed, tmp_path / f"root{moment}"))
        config = load_run(str(root))
        plan = config.plan(str(root))
        alike = {each.video for each in find_alike(plan, asked) if each.relation in {"copy", "part of"}}
        assert alike == {names[name] for name in COPIES}
        with pytest.raises(Killed), killed_at(moment, after):
            remove_videos(plan, config.pack, write, Request(sorted(alike)))
        assert unfinished_sources(str(root))
        assert ola("remove", root, "--yes").code == 0
        assert found(root, [video.encode() for video in alike]) == []
        assert videos(root).keys() == {"other", "sound"}
        assert list(check_run(str(root))) == []


def test_every_one_of_many_copies_is_matched() -> None:
    prints = crowd(60)
    assert len(find_candidates(prints)) == 59, "only neighbours"
    assert find_matches(prints, 2).tolist() == [[query, clip] for query in (0, 1) for clip in range(2, 60)]
    assert len(find_matches(crowd(1), 1)) == 0


def phase(out: Path, name: str, steps: dict[int, list[str]], start: Path | None) -> Path:
    """Write what a phase of a training leaves: a checkpoint and the tasks read up to it, for each of these steps."""
    folder = out / name
    checkpoints = Checkpoints(folder, {"phase": {"name": name}}, keep=9, start=start)
    for step, tasks in steps.items():
        checkpoints.save(step, lambda draft: draft.mkdir(parents=True))
        checkpoints.wait()
        (folder / "read").mkdir(exist_ok=True)
        read = [{"step": step, "epoch": 0, "task": task} for task in tasks]
        pq.write_table(pa.Table.from_pylist(read, READ_SCHEMA), folder / "read" / f"step-{step:06d}.parquet")
    return folder / f"step-{max(steps):06d}"


def task(video: str) -> str:
    return f"{video}-000000000-000004000-video_qa-0"


def test_checkpoints_are_named_from_the_step_that_read_the_video_on(tmp_path: Path) -> None:
    gone, kept = "a" * 20, "b" * 20
    out = tmp_path / "out"
    first = phase(out, "image", {2: [task(kept)], 4: [task(gone), task(gone)], 6: [task(kept)]}, tmp_path / "model")
    phase(out, "video", {3: [task(kept)]}, first)
    other = phase(tmp_path / "other", "omni", {5: [task(kept)]}, tmp_path / "model")
    (out / "model").symlink_to(Path("video/step-000003"))
    phase(tmp_path / "later", "omni", {5: [task(kept)]}, out / "model")
    moved = Path(shutil.move(out, tmp_path / "moved"))
    found_in = {
        Path(each.phase).name + str(each.first_step): [Path(name).name for name in each.checkpoints]
        for each in find_learned([str(moved), str(other.parent.parent)], frozenset({gone}))
    }
    assert found_in == {"image4": ["step-000004", "step-000006"], "videoNone": ["step-000003"]}
    shutil.move(moved, out)
    later = find_learned([str(out), str(tmp_path / "later")], frozenset({gone}))[2]
    assert (later.tasks, Path(str(later.start)).parts[-2:]) == (0, ("video", "step-000003"))
    with pytest.raises(ConfigError, match="expected the folder of a training"):
        find_learned([str(tmp_path / "nothing")], frozenset({gone}))


def test_a_removal_names_the_checkpoints_of_a_training(plain: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(plain, tmp_path / "root"))
    names = videos(root)
    phase(tmp_path / "out", "omni", {2: [task(names["other"])], 4: [task(names["cut"])]}, tmp_path / "model")
    said = ola("remove", root, "cut.mp4", "--trained", tmp_path / "out", "--yes")
    assert said.code == 0, said
    assert "1 checkpoints have learned from them" in said.out
    (line,) = read_record(str(root))
    assert [Path(name).name for name in line["learned"]] == ["step-000004"]
    later = json.loads(ola("remove", root, "--trained", tmp_path / "out", "--dry-run", "--json").out)
    assert [each["tasks"] for each in later["learned"]] == [1], "videos that were removed before count, too"
    said = ola("remove", root, "crop.mp4", "--trained", tmp_path / "out", "--dry-run")
    assert said.code == 0, said
