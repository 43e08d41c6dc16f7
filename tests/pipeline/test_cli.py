"""`ola run` repeats only what is new, changed or unfinished; and the commands that show a run."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline.monitoring.funnel import group_reasons
from tests.media import numbered, pattern
from tests.runs import Said, copy_of, files_of, finished, ola, rows, shards_of, status, talking

SMALL = ("--set", "extract.frames.cap=2", "--set", "split.longest=4")
FAST = (*SMALL, "--set", "isolate=false")  # where no record fails: processes of their own take seconds to start


def folders(root: Path) -> set[str]:
    return {path.name for path in root.glob("0*")}


def committed(root: Path) -> dict[str, tuple[int, int]]:
    """All files that hold results.

    `run.yaml`, `keys.json` and the views say what is there and are written anew, as is what pack chose last.
    """
    anew = ("run.yaml", "keys.json", "views.sql", "manifest.duckdb", ".lock")
    return {name: facts for name, facts in files_of(root).items() if name not in anew and not name.startswith("pack/")}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    talking(folder, "one", numbered("plain.mp4", 100), 4)
    talking(folder, "two", pattern("two.mp4", 4.4), 4)
    return folder


def test_a_second_run_does_nothing(videos: Path, tmp_path: Path) -> None:
    assert ola("run", videos, "--root", tmp_path / "out", *FAST).code == 0
    before = committed(tmp_path / "out")
    for _ in range(2):
        assert ola("run", videos, "--root", tmp_path / "out", *FAST).code == 0
        assert committed(tmp_path / "out") == before
    assert ola("run", "--root", tmp_path / "out").code == 0  # as it was
    assert committed(tmp_path / "out") == before


def test_a_changed_setting_runs_its_step_and_those_after_it(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    ola("run", videos, "--root", root, *FAST)
    before, was = folders(root), committed(root)
    assert ola("run", videos, "--root", root, *FAST, "--set", "split.longest=5").code == 0
    fresh = folders(root) - before
    assert {name.split("-")[1] for name in fresh} == {"split", "extract", "transcribe", "pack"}
    now = committed(root)
    for pointer in ("shards/current.json", "packed.json"):
        assert now.pop(pointer) != was.pop(pointer)
    assert {name: facts for name, facts in now.items() if name in was} == was
    ola("run", videos, "--root", root, *FAST)
    assert folders(root) == before | fresh


def test_new_videos_run_alone(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    ola("run", videos, "--root", root, *FAST)
    old = {
        name: facts for name, facts in committed(root).items() if name.endswith((".parquet", ".tar")) and name[0] == "0"
    }
    for n in range(2):
        talking(videos, f"new{n}", pattern(f"new{n}.mp4", 3 + n / 5), 3)
    assert ola("run", videos, "--root", root, *FAST).code == 0
    now = committed(root)
    assert {name: now[name] for name in old} == old
    assert {name for name in now if name.startswith("01-ingest")} - set(old)
    assert status(root)["ingest"]["ok"] == 4
    assert rows(root, "SELECT count(DISTINCT video) FROM shards") == [(4,)]


def test_a_changed_where_runs_pack_alone(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    before = committed(root)
    assert ola("run", "--root", root, "--set", "pack.where=meta->>'licence' = 'CC-BY'").code == 0
    now = committed(root)
    fresh = set(now) - set(before)
    assert all(name.startswith(("05-pack", "shards/")) for name in fresh)
    assert {name: now[name] for name in before if name[0] == "0"} == {n: f for n, f in before.items() if n[0] == "0"}
    packed = rows(root, "SELECT DISTINCT v.meta->>'licence' FROM shards s JOIN ingest v ON v.id = s.video")
    assert packed == [("CC-BY",)]
    assert "pack.where" in json.dumps(status(root)["pack"]["reasons"])


def test_columns_of_a_list_reach_the_samples() -> None:
    found = rows(finished(), "SELECT v.meta->>'licence', v.meta->>'title' FROM ingest v ORDER BY v.uri")
    assert found == [("CC-BY", "film 0"), ("unknown", "film 1"), ("CC-BY", "film 2"), ("unknown", "numbers")]


def test_limit_and_only(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    assert ola("run", videos, "--root", root, *FAST, "--limit", "1", "--only", "ingest").code == 0
    assert folders(root) == {"00-source", next(name for name in folders(root) if name.startswith("01-ingest"))}
    assert rows(root, "SELECT count(*) FROM ingest") == [(1,)]
    said = ola("run", videos, "--root", root, *FAST, "--limit", "1")
    assert said.code == 0
    assert "1 of 1 videos reached the shards (100%)" in said.out
    assert "2 of 2 videos reached" in ola("run", videos, "--root", root, *FAST).out


def test_exit_codes_tell_of_the_yield(videos: Path, tmp_path: Path) -> None:
    (videos / "bad.mp4").write_text("no video")
    (videos / "mute.mp4").write_bytes(pattern("mute.mp4", 3, sound=False).read_bytes())
    root = tmp_path / "out"
    said = ola("run", videos, "--root", root, *SMALL, "--min-yield", "0.5")
    assert (said.code, "2 of 4 videos reached the shards (50%)" in said.out) == (0, True)
    assert ola("run", videos, "--root", root, *SMALL, "--min-yield", "0.6").code == 1
    said = ola("run", "--root", root, "--set", "pack.where=words > 1000")
    assert said.code == 1
    assert "the yield is zero: `ola status` and `ola why` tell where it went" in said.out
    said = ola("check", root)
    assert (said.code, said.out.splitlines()[0]) == (1, "shards: pack chose no task; `ola status` tells why")


def test_retry_runs_failed_records_again(videos: Path, tmp_path: Path) -> None:
    broken, root = videos / "broken.mp4", tmp_path / "out"
    whole = pattern("mended.mp4", 3)
    broken.write_bytes(bytes(whole.stat().st_size))
    ola("run", videos, "--root", root, *SMALL)
    assert status(root)["ingest"]["failed"] == 1
    stamp = broken.stat().st_mtime_ns
    shutil.copyfile(whole, broken)
    os.utime(broken, ns=(stamp, stamp))
    ola("run", videos, "--root", root, *SMALL)
    assert status(root)["ingest"]["failed"] == 1, "what has its size and its time is taken for what it was"
    assert ola("run", videos, "--root", root, *SMALL, "--retry").code == 0
    assert (status(root)["ingest"]["failed"], status(root)["ingest"]["ok"]) == (0, 3)


def test_a_mended_file_is_looked_at_again_by_itself(videos: Path, tmp_path: Path) -> None:
    broken, root = videos / "broken.mp4", tmp_path / "out"
    whole = pattern("mended.mp4", 3)
    broken.write_bytes(bytes(whole.stat().st_size))
    ola("run", videos, "--root", root, *SMALL)
    assert status(root)["ingest"]["failed"] == 1
    shutil.copyfile(whole, broken)
    assert ola("run", videos, "--root", root, *SMALL).code == 0
    assert (status(root)["ingest"]["failed"], status(root)["ingest"]["ok"]) == (0, 3)


def test_a_moved_video_has_its_tasks_once_and_runs_nothing_again(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    assert ola("run", videos, "--root", root, *FAST).code == 0
    tasks = rows(root, "SELECT id, tokens FROM shards ORDER BY id")
    tars = {path.name for path in root.glob("03-extract-*/*.tar")}
    (videos / "sub").mkdir()
    for suffix in (".mp4", ".srt"):
        (videos / f"one{suffix}").rename(videos / "sub" / f"two words{suffix}")
    assert ola("run", videos, "--root", root, *FAST).code == 0
    assert rows(root, "SELECT id, tokens FROM shards ORDER BY id") == tasks
    assert {path.name for path in root.glob("03-extract-*/*.tar")} == tars
    assert rows(root, "SELECT count(*), count(DISTINCT id) FROM ingest WHERE status = 'ok'") == [(2, 2)]
    assert str(videos / "sub" / "two words.mp4") in rows(root, "SELECT list(uri) FROM ingest")[0][0]
    assert ola("check", root) == Said(0, "no fault\n", "")
    assert status(root)["ingest"]["inputs"] == 2


def test_duckdb_opens_the_manifest() -> None:
    with duckdb.connect(str(finished() / "manifest.duckdb"), read_only=True) as connection:
        made = {
            name for (name,) in connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        }
        assert made == {"source", "ingest", "split", "extract", "transcribe", "pack", "shards", "shards_omni"}
        for view in made:
            assert connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] > 0


def test_sql_answers_in_three_forms() -> None:
    query = "SELECT codec, count(*) AS n FROM ingest GROUP BY ALL"
    assert json.loads(ola("sql", finished(), query, "--format", "json").out) == [{"codec": "h264", "n": 4}]
    assert list(csv.reader(io.StringIO(ola("sql", finished(), query, "--format", "csv").out))) == [
        ["codec", "n"],
        ["h264", "4"],
    ]
    assert ola("sql", finished(), query).out.split() == ["codec", "n", "h264", "4"]


def test_sql_answers_with_times_of_a_zone() -> None:
    query = "SELECT TIMESTAMPTZ '2020-01-02 03:04:05+00' AS at, [now()] AS at, 1 AS n"
    (row,) = json.loads(ola("sql", finished(), query, "--format", "json").out)
    assert row["n"] == 1
    assert row["at"][0].startswith("20")
    assert "03:04:05" in ola("sql", finished(), query.replace("[now()] AS at, ", "")).out


def test_sql_shows_brackets_as_they_are() -> None:
    query = "SELECT '[/red] a\\[b' AS \"[/bold]\", 'x[0-9]' SIMILAR TO '.\\[0-9\\]'"
    said = ola("sql", finished(), query)
    assert said.code == 0
    assert "[/bold]" in said.out
    assert "[/red] a\\[b" in said.out


def test_sql_as_json_is_json() -> None:
    query = "SELECT 'NaN'::DOUBLE AS a, [-'Infinity'::FLOAT, 1.5] AS b, {'x': 'NaN'::DOUBLE} AS c, '\\xFF'::BLOB AS d"
    said = ola("sql", finished(), query, "--format", "json").out
    expected = {"a": None, "b": [None, 1.5], "c": {"x": None}, "d": "/w=="}
    assert json.loads(said, parse_constant=pytest.fail) == [expected]


def test_status_has_a_line_a_step_and_what_the_shards_hold() -> None:
    lines = ola("status", finished()).out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["ingest", "split", "extract", "transcribe", "pack"]
    assert lines[-1].startswith(f"shards/omni: {len(shards_of(finished()))} file")


def test_why_follows_a_video_a_clip_and_a_task() -> None:
    ((name, clip, task),) = rows(finished(), "SELECT video, clip, id FROM shards ORDER BY id LIMIT 1")
    whole = ola("why", finished(), name[:8]).out
    for step in ("source", "ingest", "split", "extract", "transcribe", "pack"):
        assert f"{step} " in whole
    for wanted in (clip, task):
        lines = [
            line for line in ola("why", finished(), wanted).out.splitlines() if "─ extract " in line or " → " in line
        ]
        assert len(lines) == 2  # the clip, and below it the step
        assert clip in lines[0]


def test_doctor_finds_all_that_the_tests_need() -> None:
    said = ola("doctor")
    assert said.code == 0
    assert "MISSING" not in said.out
    assert "decoders: h264" in said.out


def test_the_command_as_a_user_gives_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "run", "gone", "--root", "out"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ola: inputs: no such file or folder: {tmp_path}/gone\n"


def test_reasons_are_grouped_without_what_differs() -> None:
    reasons = {"truncated: 2.3 s of 10.0 s are there": 2, "truncated: 7 s of 8.0 s are there": 1, "an mp4 of MPEG-4": 1}
    expected = {"truncated: … s of … s are there": 3, "an mp4 of MPEG-…": 1}
    assert group_reasons(reasons) == expected
    assert group_reasons({f"duplicate of {'ab12' * 5}": 1}) == {"duplicate of …": 1}
