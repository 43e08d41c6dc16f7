"""Texts of benchmarks are found in transcripts and questions by runs of 13 words, as whole short texts, and nearly."""

from __future__ import annotations

import json
from itertools import pairwise
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
from pipeline.pack.near_text import LEAST, NearTexts
from pipeline.pack.presets import preset_condition
from pipeline.pack.settings import PackSettings
from stages.text_metrics import words
from tests.bench.domain_text import change_words, make_text
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


@pytest.fixture(scope="module")
def near() -> NearTexts:
    return NearTexts(make_text(seed) for seed in range(60))


def test_a_paraphrase_with_a_tenth_of_its_words_changed_is_found(near: NearTexts) -> None:
    for seed in range(30):
        changed = change_words(make_text(seed), 0.1, seed)
        hit = near.find(changed)
        assert hit is not None, changed
        assert set(hit.words.split()) <= set(words(make_text(seed)))
        assert LEAST <= hit.similarity <= 1
    copied = near.find(make_text(7))
    assert copied is not None
    assert copied.similarity == 1


def test_unlike_texts_of_the_same_frames_are_no_copies(near: NearTexts) -> None:
    assert [seed for seed in range(1000, 1200) if near.find(make_text(seed)) is not None] == []
    assert near.find(change_words(make_text(3), 0.5, 3)) is None
    for text in ("", "one word", "la " * 40, " ".join(words(make_text(3))[:12])):
        assert near.find(text) is None
    assert NearTexts([]).find(make_text(3)) is None
    assert NearTexts(["la " * 40]).find("la " * 40) is None


def test_the_estimate_is_near_the_share_of_common_pairs(near: NearTexts) -> None:
    for seed in range(10):
        spoken = words(change_words(" ".join(words(make_text(seed))[:24]), 0.1, seed))
        hit = near.find(" ".join(spoken))
        assert hit is not None
        ours, theirs = (set(pairwise(text)) for text in (spoken, hit.words.split()))
        assert hit.similarity == pytest.approx(len(ours & theirs) / len(ours | theirs), abs=0.15)


def test_near_copies_have_a_column_with_the_field_and_the_words(tmp_path: Path) -> None:
    plan = annotated(tmp_path / "root", [range(3)])
    settings = PackSettings(benchmarks=(str(tmp_path / "bench.txt"),))
    texts = [make_text(1), make_text(2)]
    (tmp_path / "bench.txt").write_text("\n".join(texts), encoding="utf-8")
    changed = change_words(texts[1], 0.1, 5).replace("'", "")
    with views.connect(plan.root, plan.manifests, {}) as connection:
        connection.execute(f"CREATE TEMP TABLE asked AS SELECT * REPLACE ('{changed}' AS question) FROM ask")
        connection.execute("DROP VIEW ask; CREATE TEMP VIEW ask AS FROM asked")
        create_candidates(connection, plan, settings)
        near = connection.sql("SELECT DISTINCT kind, leaked_text IS NULL, leaked_near FROM candidates").fetchall()
    hits = [(kind, hit) for kind, _, hit in near if hit is not None]
    assert hits
    assert all(hit["field"] == "question" and hit["similarity"] >= LEAST for _, hit in hits)
    assert {kind for kind, hit in hits} == {"cross_modal_qa", "video_qa"} & {kind for kind, *_ in near}
    assert any(hit is None for _, _, hit in near)
    assert "leaked_near IS NULL" in preset_condition("strict", ["leaked_near"])
