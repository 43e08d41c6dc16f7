"""`ola evaluate` and `ola compare` with a tiny model of random weights, on real media in every layout."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ola.processor import OlaProcessor
from stages.evaluation.runner import Result
from tests.media import pattern
from tests.ola import tiny
from tests.runs import ola
from tests.stages.evaluation import files

SUITES = ("mmbench", "videomme", "librispeech", "shards-cross_modal_qa", "shards-sound_caption")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    made = tiny.model()
    made.save_pretrained(folder)
    OlaProcessor(tiny.tokenizer(), made.config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("suites")
    places = {
        "mmbench": files.mmbench(folder / "dev.tsv"),
        "videomme": files.videomme(folder / "videos", pattern("seen.mp4", 2.0)),
        "librispeech": files.librispeech(folder / "LibriSpeech"),
        "shards": files.shards(folder / "run"),
    }
    return [word for name, place in places.items() for word in ("--suite", f"{name}={place}")]


def test_all_suites(model: Path, suites: list[str], tmp_path: Path) -> None:
    asked: list[str | Path] = ["evaluate", "--model", model, *suites, "--frames", "2", "--device", "cpu"]
    first = ola(*asked, "--out", tmp_path / "a")
    assert first.code == 0, first.err
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert set(SUITES) < set(results)
    assert {name: (facts["n"], facts["errors"]) for name, facts in results.items()} == {
        "mmbench": (3, 0),
        "videomme": (3, 1),
        "librispeech": (3, 1),
        "shards-cross_modal_qa": (2, 0),
        "shards-sound_caption": (1, 0),
        "shards-speech_recognition": (1, 0),
    }
    rows = pq.read_table(tmp_path / "a" / "answers" / "librispeech.parquet").to_pylist()
    assert all(row["answer"] and row["tokens"] and row["prompt_tokens"] > 20 for row in rows[:2])
    assert ola(*asked, "--out", tmp_path / "a").out == first.out
    shown = sum(min(3, facts["unparsed"]) for facts in results.values())
    assert first.out.count(", not read: '") == shown > 0
    again = pq.read_table(tmp_path / "a" / "answers" / "librispeech.parquet").to_pylist()
    assert again == rows  # with the seconds of the first time


def test_side_by_side(tmp_path: Path) -> None:
    for name, value, n in (("a", 0.5, 9), ("b", 0.25, 10)):
        facts = Result(
            metric="word error",
            falls=True,
            value=value,
            n=n,
            unparsed=0,
            errors=0,
            by_category={},
            model=name,
            exact_match=None,
        )
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"librispeech": facts}))
    said = ola("compare", tmp_path / "a", tmp_path / "b", "--png", tmp_path / "figure.png")
    assert said.code == 0, said.err
    assert "0.5000 (1.000)" in said.out
    assert "0.2500 (2.000)" in said.out
    assert "asked different numbers of questions (a 9, b 10)" in said.out
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_one_question_of_each(model: Path, suites: list[str], tmp_path: Path) -> None:
    said = ola("evaluate", "--model", model, *suites, "--out", tmp_path, "--limit", "1", "--views", "--device", "cpu")
    assert said.code == 0, said.err
    results = json.loads((tmp_path / "results.json").read_text())
    assert {facts["n"] for facts in results.values()} == {1}
    assert len(results) == 9


def test_nothing_could_be_asked(model: Path, tmp_path: Path) -> None:
    speech = files.librispeech(tmp_path / "speech") / "test-other"
    said = ola("evaluate", "--model", model, "--suite", f"librispeech={speech}", "--out", tmp_path, "--device", "cpu")
    assert said.code == 1
    assert json.loads((tmp_path / "results.json").read_text())["librispeech"]["value"] == 1.0


@pytest.mark.parametrize(
    ("suite", "code", "words"),
    [
        ("mmbench", 2, "expected NAME=PATH with a NAME of mmbench, videomme"),
        ("mmstar=x.tsv", 2, "got 'mmstar=x.tsv'"),
        ("mmbench=absent.tsv", 2, "expected a file or folder that exists"),
        ("mmbench=.", 3, "expected MMBench's TSV"),
        ("shards=.", 3, "no shards"),
    ],
)
def test_wrong_suites(model: Path, tmp_path: Path, suite: str, code: int, words: str) -> None:
    place = suite.replace("=.", f"={tmp_path}")
    said = ola("evaluate", "--model", model, "--suite", place, "--out", tmp_path / "out", "--device", "cpu")
    assert said.code == code
    assert said.err.startswith("ola: ")
    assert words in said.err
    assert said.err.count("\n") == 1


def test_wrong_folders(tmp_path: Path) -> None:
    suite = files.mmbench(tmp_path / "dev.tsv")
    said = ola("evaluate", "--model", tmp_path / "none", "--suite", f"mmbench={suite}", "--out", tmp_path / "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "which does not exist" in said.err
    assert ola("evaluate", "--model", tmp_path, "--suite", f"mmbench={suite}", "--out", tmp_path / "out").code == 3
    said = ola("compare", tmp_path, tmp_path)
    assert said.code == 3
    assert "expected results of `ola evaluate`" in said.err
