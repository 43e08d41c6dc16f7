"""Output of `ola sql`, `ola why` and `ola status` for people: tables, short ids, trees and suggestions."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.tree import Tree

from manifests.ledger import Counts
from pipeline.cli import history_tree, sql_views
from pipeline.cli.cell_text import clock, duration, number_text, with_short_ids
from pipeline.cli.sql_output import FORMS, Answer
from pipeline.cli.status import funnel
from pipeline.cli.tables import column_widths, cut_table
from tests.runs import finished, ola, rows

OLA = (sys.executable, "-c", "from pipeline.cli import main; main()")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), **more}


@pytest.mark.parametrize("width", [80, 120])
def test_a_wide_table_is_cut_by_column_and_says_so(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = ola("sql", finished(), "FROM ingest ORDER BY id").out.splitlines()
    assert len(lines) == 1 + 4 + 1
    assert all(len(line) <= width for line in lines[:-1])
    assert all(line.endswith("…") for line in lines[:-1])
    shown = len(lines[0].split()) - 1
    assert lines[-1].startswith(f"… {40 - shown} of 40 columns are not shown")
    ids = [name[:8] + "…" for (name,) in rows(finished(), "SELECT id FROM ingest ORDER BY id")]
    assert [found for line in lines[1:-1] for found in ids if found in line] == ids


def test_a_table_in_a_pipe_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    [(name, uri)] = rows(finished(), "SELECT id, uri FROM ingest ORDER BY id LIMIT 1")
    lines = ola("sql", finished(), "FROM ingest ORDER BY id").out.splitlines()
    assert len(lines) == 1 + 4
    assert name in lines[1]
    assert uri in lines[1]
    assert "…" not in "".join(lines)


def test_columns_share_the_room_and_numbers_are_never_cut() -> None:
    assert column_widths([5, 40, 90], [5, 10, 10], 60) == [5, 26, 25]
    assert column_widths([5, 40, 90], [5, 10, 10], None) == [5, 40, 90]
    assert column_widths([30] * 9, [10] * 9, 40) == [11, 11, 11]
    table = cut_table(("n", "text"), [(123456789012345678, "x" * 50)], 30)
    assert table[1] == "123456789012345678  " + "x" * 9 + "…"
    assert table[-1] == "… long values are cut: --format vertical shows everything"


def test_short_ids_stay_apart_in_a_narrow_table() -> None:
    ids = [f"0123456789abcdef0123-{n:09d}-{n + 1:09d}" for n in range(3)]
    lines = cut_table(("id", "clip", "text"), [(each, each, "words " * 9) for each in ids], 60)
    assert [line.split()[0] for line in lines[1:-1]] == [f"01234567…{each[20:]}" for each in ids]


def test_ids_are_short_where_they_stay_unique() -> None:
    one, two = "0123456789abcdef0123", "0123456789ff00000000"
    columns: list[Sequence[object]] = [
        [one, two],
        [f"{one}-000000000-000002500", None],
        [one * 2, "x"],
        ["1795804334068132892"] * 2,
    ]
    expected = [["01234567"[:8] + "89a…", "0123456789f…"], ["0123456789a…-000000000-000002500", None], *columns[2:]]
    assert with_short_ids(columns) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.7415026300000136, "0.7415"), (-21.77420914302704, "-21.774"), (5.0, "5.0"), (1234567.891, "1234567.9"),
     (0.0, "0.0"), (3.2e-9, "3.2000e-09"), (float("nan"), "nan"), (1e300, "1.0000e+300")],
)  # fmt: skip
def test_numbers_have_five_digits(value: float, text: str) -> None:
    assert number_text(value) == text


def test_times_and_durations() -> None:
    assert clock(3_725_042) == "01:02:05.042"
    assert [duration(each) for each in (0.3344, 12.34, 61.2, 7322)] == ["0.33 s", "12.3 s", "1 min 01 s", "2 h 02 min"]


def test_forms_for_people_and_for_papers() -> None:
    query = "SELECT 'a|b\nc' AS text, 1.23456789 AS n, NULL AS none"
    assert ola("sql", finished(), query, "--format", "md").out.splitlines() == [
        "| text | n | none |", "| --- | --- | --- |", "| a\\|b<br>c | 1.2346 |  |",
    ]  # fmt: skip
    said = ola("sql", finished(), query, "--format", "vertical").out.splitlines()
    assert said == ["── row 1 ────", "text  a|b", "      c", "n     1.2346", "none"]


def test_parquet_goes_to_a_file_or_a_pipe_and_not_to_a_terminal(tmp_path: Path) -> None:
    query = "SELECT id, duration, now() AS at FROM ingest ORDER BY id"
    expected = [name for (name,) in rows(finished(), "SELECT id FROM ingest ORDER BY id")]
    assert ola("sql", finished(), query, "--format", "parquet", "--out", tmp_path / "a.parquet").code == 0
    assert pq.read_table(tmp_path / "a.parquet")["id"].to_pylist() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    command = [*OLA, "sql", str(finished()), query, "--format", "parquet"]
    with (tmp_path / "b.parquet").open("wb") as file:
        subprocess.run(command, stdout=file, check=True, env=environment())
    assert pq.read_table(tmp_path / "b.parquet")["id"].to_pylist() == expected
    outer, inner = pty.openpty()
    done = subprocess.run(command, stdout=inner, stderr=subprocess.PIPE, text=True, check=False, env=environment())
    os.close(inner)
    os.close(outer)
    assert done.returncode == 2
    assert done.stderr.startswith("ola: --format parquet: expected a file or a pipe, got a terminal; do --out FILE")


def test_lines_of_csv_end_as_other_tools_of_the_shell_expect() -> None:
    assert FORMS["csv"](Answer(["id", "text"], [("a", "one, two"), ("b", None)])) == 'id,text\na,"one, two"\nb,\n'


@pytest.mark.parametrize("form", ["table", "vertical", "md", "csv", "json"])
def test_every_form_goes_into_a_file(form: str, tmp_path: Path) -> None:
    query = "SELECT 1 AS n"
    printed = ola("sql", finished(), query, "--format", form).out
    said = ola("sql", finished(), query, "--format", form, "--out", tmp_path / "answer")
    assert (said.code, said.out) == (0, "")
    assert (tmp_path / "answer").read_bytes().decode() == printed


def test_without_a_query_the_views_are_shown_with_examples_that_run() -> None:
    said = ola("sql", finished()).out
    for line in ("ingest      4 rows: videos, probed", "    ingest.id = split.video, pack.video, shards.video"):
        assert line in said
    assert "    split.id = extract.clip, transcribe.clip, pack.clip, shards.clip" in said
    examples = [shlex.split(line) for line in said.splitlines() if line.startswith("    ola sql ")]
    assert len(examples) == 3
    for _, *words in examples:
        answer = ola(*words, "--format", "json")
        assert answer.code == 0
        assert json.loads(answer.out)


def test_columns_and_joins_are_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_views, "output_width", lambda: 60)
    lines = [
        line for line in ola("sql", finished()).out.splitlines() if line.startswith("    ") and "ola sql" not in line
    ]
    assert [line for line in lines if line.startswith(" " * 8)]
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT codek FROM ingest", "no column 'codek' in ingest; did you mean codec?"),
        ("SELECT v.durration FROM ingest v", "no column 'durration' in ingest; did you mean duration or "),
        ("SELECT text FROM split", "no column 'text' in split; transcribe has it: join on clip or video"),
        ("SELECT zzz FROM split", "no column 'zzz' in split; `ola sql ROOT` shows the columns of each view"),
        ("FROM ingst", "no view 'ingst'; did you mean ingest? (views: extract, "),
        ("SELECT sounds[1].chanels FROM ingest", "no field 'chanels'; did you mean channels?"),
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"'),
    ],
)
def test_a_wrong_name_gets_the_near_ones_in_one_line(query: str, words: str) -> None:
    said = ola("sql", finished(), query)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(f"ola: sql: {words}")


def test_why_is_a_tree_with_times() -> None:
    [(video, clip, start, end)] = rows(
        finished(), "SELECT video, id, start_ms, end_ms FROM split WHERE end_ms < 3000 ORDER BY id LIMIT 1"
    )
    said = ola("why", finished(), video).out
    assert re.search(r"^└── ingest +ok +\d+\.\d\d s  00:00:0\d\.\d{3}, h264 \d+x\d+, ", said, re.MULTILINE)
    assert f"├── {clock(start)} → {clock(end)} ({duration((end - start) / 1000)})  {clip}  motion " in said
    assert "│   ├── extract     ok " in said
    assert "=" not in said.replace("/split=none/width=640/", "").replace("/kind=", "")
    found = json.loads(ola("why", finished(), video, "--json").out)
    assert found[0]["step"] == "source"
    assert {row["id"] for row in found if row["step"] == "split"} >= {clip}


def test_why_takes_an_id_that_sql_has_shortened() -> None:
    [(clip,)] = rows(finished(), "SELECT id FROM split ORDER BY id LIMIT 1")
    short = f"{clip[:8]}…{clip[20:]}"
    assert ola("why", finished(), short) == ola("why", finished(), clip)


def test_the_funnel_has_large_numbers_times_and_wrapped_reasons() -> None:
    counts = Counts(12_345_678, 12_345_670, 8, 0, 12_345_670, 7322.0, {"not a video: a list of other videos": 8})
    head, line, *reasons = funnel([("ingest", counts)], 40).splitlines()
    assert head.split() == ["step", "inputs", "ok", "dropped", "failed", "outputs", "time"]
    assert line.split()[:3] == ["ingest", "12,345,678", "12,345,670"]
    assert line.endswith(" 2 h 02 min")
    assert reasons == ["    8 x not a video: a list of other", "        videos"]


def test_help_groups_the_commands() -> None:
    said = ola("--help").out
    heads = re.findall(r"─ (\w+) ─", said)
    assert heads == ["Options", "Run", "Look", "Data", "Train", "Model"]


def test_long_lists_of_a_step_of_ones_own_are_shown_by_their_length() -> None:
    row = {"id": "a", "input": "a", "status": "ok", "seconds": 0.1, "hashes": list(range(60)), "few": [1, 2]}
    tree = Tree("")
    history_tree._add_step(tree, "fingerprint", [row])
    text = str(tree.children[0].label)
    assert "hashes [60 values], few [1, 2]" in text
