"""Texts of benchmarks are found in transcripts and questions by runs of 13 words, or as whole short texts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import views
from pipeline.errors import ConfigError
from pipeline.pack import benchmark_text
from pipeline.pack.benchmark_text import find_leaked, read_benchmarks
from pipeline.pack.candidates import create_candidates
from pipeline.pack.facts import pack_facts
from pipeline.pack.settings import PackSettings
from tests.pipeline.test_pack_tasks import annotated

LONG = "In the second scene, what does the tall man with the red hat do after he has opened the door of the train?"
SHORT = "Which instrument is played when the lights go out?"


@pytest.fixture
def benchmark(tmp_path: Path) -> str:
    file = tmp_path / "bench.jsonl"
    file.write_text(json.dumps({"id": 1, "qa": [{"q": LONG}, {"q": SHORT, "options": ["a drum", "a flute"]}]}) + "\n")
    return str(file)


def test_thirteen_words_in_a_row_are_a_hit_whatever_stands_around_them(benchmark: str) -> None:
    known = read_benchmarks((benchmark,))
    shouted = "they ASK: " + " ".join(LONG.upper().split()[4:18]) + " and then?"
    assert find_leaked(known, shouted) == "what does the tall man with the red hat do after he has"
    broken = LONG.replace("red", "blue").replace("after", "before")
    assert find_leaked(known, broken) == ""


def test_a_short_text_is_a_hit_as_a_whole_only(benchmark: str) -> None:
    known = read_benchmarks((benchmark,))
    assert find_leaked(known, SHORT.lower())
    assert find_leaked(known, SHORT + " And why?") == ""
    assert find_leaked(known, "a drum") == ""


def test_every_form_of_file_is_read(benchmark: str, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(f"{LONG}\n{SHORT}\n")
    (tmp_path / "b.json").write_text(json.dumps([{"q": LONG}, [SHORT]]))
    pq.write_table(pa.table({"n": [1, 2], "q": [LONG, SHORT]}), tmp_path / "b.parquet")
    for ending in ("txt", "json", "parquet"):
        assert read_benchmarks((str(tmp_path / f"b.{ending}"),)) == read_benchmarks((benchmark,))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match=r"pack\.benchmarks: .*bad\.json: expected texts"):
        read_benchmarks((str(tmp_path / "bad.json"),))


def test_leaked_tasks_have_a_column_and_the_key_follows_the_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_text, "SHORTEST", 1)  # the questions of these made rows are short
    plan = annotated(tmp_path / "root", [range(3)])
    settings = PackSettings(benchmarks=(str(tmp_path / "leak.txt"),))
    with views.connect(plan.root, plan.manifests, {}) as connection:
        create_candidates(connection, plan, PackSettings())
        leaked = connection.sql("SELECT min(question) FROM candidates").fetchall()[0][0]
    (tmp_path / "leak.txt").write_text(leaked + "\n", encoding="utf-8")
    with views.connect(plan.root, plan.manifests, {}) as connection:
        create_candidates(connection, plan, settings)
        found = connection.sql("SELECT DISTINCT question, leaked_text IS NOT NULL FROM candidates").fetchall()
    assert [question for question, hit in found if hit] == [leaked]
    assert len(found) > 1
    assert pack_facts(plan, settings) != pack_facts(plan, PackSettings())
    assert "benchmarks" not in pack_facts(plan, PackSettings())["settings"]
