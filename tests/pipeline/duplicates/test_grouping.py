"""Near-duplicates of a run: groups, relations and splits; the same bytes after kills, on Ray and in several runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load
from pipeline.duplicates.grouping import CLIPS, PAIRS
from pipeline.errors import ConfigError
from pipeline.plan import Plan
from pipeline.run import run
from pipeline.synthetic.world.changes import CHANGES
from tests.bench.duplicate_films import change_film, make_film
from tests.killing import Killed, killed_at
from tests.runs import WORDS, ola, rows, shards_of, srt, status
from tests.test_project import ROOT

SETS = ("isolate=false", "videos_per_part=1", "split.longest=12", "split.shortest=6", "pack.shard_mb=1")
STEP = "extra_steps=[fingerprint]"
SECONDS = 6.0


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film, an unlike one, and a smaller copy of the first; all with subtitles."""
    folder = tmp_path_factory.mktemp("films")
    made = make_film(folder / "a.mp4", 6001, SECONDS)
    make_film(folder / "b.mp4", 6003, SECONDS)
    change_film(made, folder / "c.mp4", CHANGES["resize"].options)
    for name in "abc":
        cues = [(n + 0.1, n + 0.8, word) for n, word in enumerate(WORDS.split()[: int(SECONDS)])]
        (folder / f"{name}.srt").write_text(srt(*cues), encoding="utf-8")
    return folder


def made(films: Path, root: Path, *sets: str, only: str = "abc") -> Plan:
    inputs = [str(films / f"{name}.mp4") for name in only]
    return run(load(None, [*SETS, *sets], {"inputs": inputs}), str(root))


@pytest.fixture(scope="module")
def finished(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run") / "root"
    made(films, root, STEP)
    return root


def written(root: Path) -> tuple[bytes, bytes]:
    return (root / PAIRS).read_bytes(), (root / CLIPS).read_bytes()


def names(root: Path) -> dict[str, str]:
    """The film of each video."""
    return {video: Path(uri).stem for video, uri in rows(root, "SELECT id, uri FROM ingest")}


def test_the_copy_is_found_and_the_larger_film_is_best(finished: Path) -> None:
    film_of = names(finished)
    pairs = rows(finished, "SELECT clip, other, relation, against FROM duplicate_pairs")
    assert pairs
    assert {(film_of[clip[:20]], film_of[other[:20]], *rest) for clip, other, *rest in pairs} == {
        ("a", "c", "copy", "")
    }
    groups = rows(finished, "SELECT video, first[:20], best[:20], family, relations FROM duplicates")
    assert {(film_of[v], film_of[first], film_of[best], film_of[family]) for v, first, best, family, _ in groups} == {
        ("a", "a", "a", "a"),
        ("c", "a", "a", "a"),
    }
    assert all(relations == ["copy"] for *_, relations in groups)


def test_every_input_of_the_step_has_a_row(finished: Path) -> None:
    step = status(finished)["fingerprint"]
    assert step["inputs"] == step["ok"] == status(finished)["extract"]["ok"] > 0


def test_adding_the_step_runs_no_other_again(films: Path, tmp_path: Path) -> None:
    before = made(films, tmp_path / "root", only="b")
    assert not (tmp_path / "root" / "duplicates").exists()
    shards = {path: path.read_bytes() for path in shards_of(tmp_path / "root")}
    after = made(films, tmp_path / "root", STEP, only="b")
    folders = [planned.manifest.folder for planned in before.steps]
    assert [planned.manifest.folder for planned in after.steps][:-1] == folders
    assert after.key == before.key
    assert {path: path.read_bytes() for path in shards_of(tmp_path / "root")} == shards


def splits(root: Path) -> dict[str, set[str]]:
    film_of, found = names(root), dict[str, set[str]]()
    for video, split in rows(root, "SELECT video, split FROM shards"):
        found.setdefault(film_of[video], set()).add(split)
    return found


def test_copies_are_on_one_side_of_the_split(films: Path, finished: Path, tmp_path: Path) -> None:
    first, copy = (next(v for v, film in names(finished).items() if film == name) for name in "ac")
    low, high = sorted((int(first[:8], 16), int(copy[:8], 16)))
    val = (low + high) / 2 / 2**32  # between the two, which would part them
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    made(films, root, STEP, f"pack.val={val}")
    assert splits(root)["a"] == splits(root)["c"] == {"val" if int(first[:8], 16) / 2**32 < val else "train"}
    apart = tmp_path / "apart"
    made(films, apart, f"pack.val={val}")
    assert splits(apart)["a"] != splits(apart)["c"], "without the step they are parted"


def test_only_the_best_of_a_group_is_packed(films: Path, finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    made(films, root, STEP, "pack.where=duplicate_best")
    assert splits(root).keys() == {"a", "b"}
    assert ola("check", root).code == 0


def test_a_condition_on_groups_needs_the_step(films: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="duplicate_best"):
        made(films, tmp_path / "root", "pack.where=duplicate_best")


def test_new_videos_are_compared_with_the_old_ones(films: Path, finished: Path, tmp_path: Path) -> None:
    made(films, tmp_path / "root", STEP, only="ab")
    assert rows(tmp_path / "root", "SELECT * FROM duplicates") == []
    made(films, tmp_path / "root", STEP)
    for view in ("duplicates", "duplicate_pairs"):
        assert rows(tmp_path / "root", f"FROM {view}") == rows(finished, f"FROM {view}") != []


def test_a_second_run_writes_nothing(films: Path, finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    times = [(root / path).stat().st_mtime_ns for path in (PAIRS, CLIPS)]
    made(films, root, STEP)
    assert [(root / path).stat().st_mtime_ns for path in (PAIRS, CLIPS)] == times


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_while_groups_are_written_leaves_a_root_that_goes_on(
    films: Path, finished: Path, tmp_path: Path, after: bool
) -> None:
    for moment in (1, 2, 3):
        root = Path(shutil.copytree(finished, tmp_path / f"root{moment}"))
        shutil.rmtree(root / "duplicates")
        with killed_at(moment, after), pytest.raises(Killed):
            made(films, root, STEP)
        made(films, root, STEP)
        assert written(root) == written(finished)


# Runs a root, and kills its own process at the call of this number of a function of the search.
KILLED = """
import os, signal, sys
from pipeline.config import load_run
from pipeline.duplicates import grouping
from pipeline.run import run
root, name, number = sys.argv[1:]
calls, function = [], getattr(grouping, name)
def dying(*arguments, **facts):
    calls.append(name)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **facts)
setattr(grouping, name, dying)
run(load_run(root), root)
"""


@pytest.mark.parametrize(("name", "call", "left"), [("relate", 1, []), ("_write", 2, ["pairs.parquet"])])
def test_sigkill_inside_the_search_leaves_a_root_that_goes_on(
    films: Path, finished: Path, tmp_path: Path, name: str, call: int, left: list[str]
) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    shutil.rmtree(root / "duplicates")
    command = [sys.executable, "-c", KILLED, str(root), name, str(call)]
    child = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert [path.name for path in root.glob("duplicates/*.parquet")] == left
    made(films, root, STEP)
    assert written(root) == written(finished)
    assert status(root)["fingerprint"]["ok"] == status(finished)["fingerprint"]["ok"]


def test_ray_gives_the_same_bytes(films: Path, finished: Path, tmp_path: Path, ray_here: None) -> None:
    made(films, tmp_path / "root", STEP, "engine=ray", "isolate=true")
    found: list[Any] = [rows(root, "FROM duplicates") for root in (tmp_path / "root", finished)]
    assert found[0] == found[1]
    assert (tmp_path / "root" / PAIRS).read_bytes() == (finished / PAIRS).read_bytes()


def test_a_removed_video_leaves_the_groups(finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    video = next(v for v, film in names(root).items() if film == "a")
    assert ola("remove", root, video, "--yes").code == 0
    assert rows(root, "SELECT * FROM duplicates") == []
    assert not any(video.encode() in data for data in written(root))


def test_earlier_runs_are_compared_with(films: Path, finished: Path, tmp_path: Path) -> None:
    made(films, tmp_path / "root", STEP, f"dedup.against=[{finished}]", only="c")
    found = rows(tmp_path / "root", "SELECT DISTINCT relation, against, other[:20] FROM duplicate_pairs")
    film_of = names(finished)
    assert {(relation, against, film_of[other]) for relation, against, other in found} == {
        ("copy", str(finished), "a"),
        ("copy", str(finished), "c"),
    }
    assert rows(tmp_path / "root", "SELECT DISTINCT known_in, leaked_from FROM duplicates") == [([str(finished)], [])]
    with pytest.raises(ConfigError, match="expected a file"):
        made(films, tmp_path / "other", STEP, f"dedup.against=[{tmp_path / 'nothing'}]", only="c")
