"""From questions to scores with scripted answers: exact numbers, kills, and unreadable questions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ola.prompt import Request
from stages.errors import StagesError
from stages.evaluation.benchmarks import librispeech, mmbench, videomme
from stages.evaluation.questions import Suite
from stages.evaluation.runner import evaluate, read_results
from tests.stages.evaluation import files
from tests.stages.evaluation.files import Scripted


def rows(out: Path, suite: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "answers" / f"{suite}.parquet").to_pylist()
    return found


def colours(tmp_path: Path) -> Suite:
    return mmbench(files.mmbench(tmp_path / "dev.tsv"), files.readers())


def test_circular_accuracy(tmp_path: Path) -> None:
    def always_a(request: Request) -> str:
        return "C." if "cube" in request.text else "A"

    found = evaluate(Scripted(always_a), [colours(tmp_path)], tmp_path, "model")
    assert found["mmbench"] == {
        "metric": "accuracy",
        "falls": False,
        "value": 0.5,  # the copy with its options turned is wrong, and so is its question
        "n": 3,
        "unparsed": 0,
        "errors": 0,
        "by_category": {"attribute": 0.0, "perception": 0.5, "shape": 1.0},
        "model": "model",
        "exact_match": None,
    }
    assert read_results(tmp_path) == found == read_results(tmp_path / "results.json")
    kept = rows(tmp_path, "mmbench")
    assert [row["score"] for row in kept] == [1, 0, 1]
    assert kept[0]["question"].startswith('Question: Which "colour"?')
    assert {(row["answer"], row["parsed"], row["tokens"], row["seconds"]) for row in kept} == {
        ("A", "A", 1, 0.5),
        ("C.", "C", 2, 0.5),
    }


def test_stored_answers_are_scored_by_the_rules_of_now(tmp_path: Path) -> None:
    suite = colours(tmp_path)
    unread = replace(suite, metric=replace(suite.metric, parse=lambda answer, options: None))
    before = evaluate(Scripted(lambda request: "A"), [unread], tmp_path, "model")["mmbench"]
    after = evaluate(Scripted(lambda request: pytest.fail("asked again")), [suite], tmp_path, "model")["mmbench"]
    assert (before["unparsed"], after["unparsed"]) == (3, 0)
    assert [row["score"] for row in rows(tmp_path, "mmbench")].count(1) > 0


def test_unparsed_and_unreadable_are_wrong(tmp_path: Path) -> None:
    video = tmp_path / "made"
    video.write_bytes(b"video")
    files.videomme(tmp_path / "set", video)
    suite = videomme(tmp_path / "set", files.readers())
    ola = Scripted(lambda request: "It may be A or B" if "001-1" in request.text else "A")
    found = evaluate(ola, [suite], tmp_path / "out", "model")["videomme"]
    assert found["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert (found["n"], found["unparsed"], found["errors"]) == (3, 1, 1)
    assert found["by_category"] == {"Counting Problem": 0, "OCR Problems": 0.5, "long": 0, "short": 0.5}
    errors = [row["error"] for row in rows(tmp_path / "out", "videomme")]
    assert errors[:2] == [None, None]
    assert errors[2].startswith("no video gone-1")
    again = Scripted(lambda request: "C")
    shutil.copy(video, tmp_path / "set" / "data" / "gone-1.mp4")
    suite = videomme(tmp_path / "set", files.readers())
    assert evaluate(again, [suite], tmp_path / "out", "model")["videomme"]["errors"] == 0
    assert len(again.asked) == 1  # what could not be asked is asked again, and nothing else


def test_word_error_of_a_whole_set(tmp_path: Path) -> None:
    said = iter(["He began a complaint.", "Mr. Smith has 22"])
    suite = librispeech(files.librispeech(tmp_path / "speech"), files.readers())
    found = evaluate(Scripted(lambda request: next(said)), [suite], tmp_path, "model")["librispeech"]
    # one deletion in five and four words; the third utterance has no sound, and its three words count as missed
    assert found["value"] == pytest.approx((1 + 3) / 12, abs=1e-6)
    assert found["by_category"] == {"test-clean": pytest.approx(1 / 9, abs=1e-6), "test-other": 1.0}
    assert found["falls"]
    assert found["errors"] == 1


def test_one_bad_request_does_not_cost_the_others(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if "cube" in request.text:
            raise ValueError("request 0: too long by far")
        return "A"

    found = evaluate(Scripted(reply), [colours(tmp_path)], tmp_path, "model")["mmbench"]
    assert (found["errors"], found["value"]) == (1, 0)
    assert [row["error"] for row in rows(tmp_path, "mmbench")] == [None, None, "too long by far"]


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    suite = colours(tmp_path)
    first = evaluate(Scripted(lambda request: "A"), [suite], tmp_path, "model", limit=2)
    assert first["mmbench"]["n"] == 2
    rest = Scripted(lambda request: "C")
    assert evaluate(rest, [suite], tmp_path, "model")["mmbench"]["n"] == 3
    assert [request.text for request in rest.asked] == [suite.questions[2].text]
    none = Scripted(lambda request: "B")
    assert evaluate(none, [suite], tmp_path, "model", limit=2) == first
    assert none.asked == []
    assert len(rows(tmp_path, "mmbench")) == 3
    assert not list(tmp_path.glob("answers/*.jsonl"))


def test_other_weights_and_other_words_are_asked_anew(tmp_path: Path) -> None:
    evaluate(Scripted(lambda request: "A"), [colours(tmp_path)], tmp_path, "model")
    other = Scripted(lambda request: "C")
    assert evaluate(other, [colours(tmp_path)], tmp_path, "other")["mmbench"]["model"] == "other"
    assert len(other.asked) == 3
    changed = [files.mmbench_rows()[0] | {"question": "What colour?"}, *files.mmbench_rows()[1:]]
    suite = mmbench(files.mmbench(tmp_path / "dev.tsv", changed), files.readers())
    again = Scripted(lambda request: "C")
    evaluate(again, [suite], tmp_path, "other")
    assert [request.text for request in again.asked] == [suite.questions[0].text]


def test_a_kill_loses_what_was_in_flight(tmp_path: Path) -> None:
    suite, out, killed = colours(tmp_path), tmp_path / "out", tmp_path / "killed"

    def at_two(_suite: str, done: int, _of: int) -> None:
        if done == 2:  # the disk as a kill would leave it, in the midst of a line
            shutil.copytree(out, killed)

    whole = evaluate(Scripted(lambda request: "A"), [suite], out, "model", on_answer=at_two)
    with open(killed / "answers" / "mmbench.jsonl", "ab") as lines:
        lines.write(b'{"key": "torn')
    ola = Scripted(lambda request: "A")
    assert evaluate(ola, [suite], killed, "model") == whole
    assert len(ola.asked) == 1
    assert rows(killed, "mmbench") == rows(out, "mmbench")


def test_an_error_keeps_the_answers_before_it(tmp_path: Path) -> None:
    def stop(_suite: str, done: int, _of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Scripted(lambda request: "A"), [colours(tmp_path)], tmp_path, "model", on_answer=stop)
    assert len(rows(tmp_path, "mmbench")) == 2
    assert not (tmp_path / "results.json").exists()


def test_a_chunk_at_a_time(tmp_path: Path) -> None:
    many = [files.mmbench_rows()[0] | {"index": str(n)} for n in range(70)]
    suite, ola = (
        mmbench(files.mmbench(tmp_path / "dev.tsv", many), files.readers()),
        Scripted(lambda request: "A"),
    )
    assert evaluate(ola, [suite], tmp_path, "model")["mmbench"]["value"] == 1
    assert ola.sizes == [32, 32, 6]


def test_results_of_other_suites_stay(tmp_path: Path) -> None:
    speech = librispeech(files.librispeech(tmp_path / "speech"), files.readers())
    evaluate(Scripted(lambda request: "A"), [colours(tmp_path)], tmp_path, "model")
    evaluate(Scripted(lambda request: "A"), [speech], tmp_path, "model")
    assert set(read_results(tmp_path)) == {"mmbench", "librispeech"}
    evaluate(Scripted(lambda request: "A"), [speech], tmp_path, "other")
    assert set(read_results(tmp_path)) == {"librispeech"}


def test_files_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "mmbench.parquet").write_bytes(b"PAR1")
    with pytest.raises(StagesError, match="expected answers of this version"):
        evaluate(Scripted(lambda request: "A"), [colours(tmp_path)], tmp_path, "model")
    for text in ("{", "[]", json.dumps({"mmbench": {"value": 1}}), json.dumps({"mmbench": 1})):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(StagesError, match=r"results\.json: expected results"):
            read_results(tmp_path)
