"""Cross-modal suites: their files, what each view shows, and the gain of the second sense."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ola.prompt import Request
from pipeline.cli import evaluate as command
from pipeline.cli.evaluate import parse_fields
from pipeline.errors import ConfigError
from stages.errors import StagesError
from stages.evaluation import cross_modal
from stages.evaluation.gain import gains_of, paired_gain
from stages.evaluation.questions import Unreadable
from stages.evaluation.runner import evaluate
from tests.stages.evaluation import files
from tests.stages.evaluation.files import Scripted, png

OPTIONS = ["a whistle", "a bell", "a dog", "rain"]
MAP = {"question": "q", "options": "o", "answer": "a", "video": "v"}


def daily_omni(folder: Path) -> Path:
    (folder / "Videos" / "x1").mkdir(parents=True)
    (folder / "Videos" / "x1" / "x1_video.mp4").write_bytes(b"video")
    row = {"Question": "What is heard?", "Choice": [f"{c}. {o}" for c, o in zip("ABCD", OPTIONS, strict=True)],
           "Answer": "B", "video_id": "x1", "Type": "Comparative", "video_duration": "30s"}  # fmt: skip
    (folder / "qa.json").write_text(json.dumps([row, {**row, "video_id": "gone"}]))
    return folder


def test_daily_omni(tmp_path: Path) -> None:
    first, gone = cross_modal.daily_omni(daily_omni(tmp_path))
    assert (first.question, list(first.options.values()), first.answer) == ("What is heard?", OPTIONS, "B")
    assert first.video == str(tmp_path / "Videos" / "x1" / "x1_video.mp4")
    assert first.categories == ("Comparative", "30s")
    (suite,) = cross_modal.cross_modal_suites("daily-omni", [gone], files.readers(), views=False)
    with pytest.raises((Unreadable, OSError)):
        suite.questions[0].request()


def test_worldsense(tmp_path: Path) -> None:
    (tmp_path / "abc.mp4").write_bytes(b"video")
    task = {"question": "Why?", "candidates": [f"A. {OPTIONS[0]}", f"B. {OPTIONS[1]}"], "answer": "A",
            "task_type": "Causal", "task_domain": "Reasoning"}  # fmt: skip
    content = {"abc": {"video_id": "abc", "domain": "Music", "video_caption": "-", "task0": task, "task1": task}}
    (tmp_path / "worldsense_qa.json").write_text(json.dumps(content))
    found = cross_modal.worldsense(tmp_path / "worldsense_qa.json")
    assert [(each.id, each.answer) for each in found] == [("abc-task0", "A"), ("abc-task1", "A")]
    assert found[0].categories == ("Reasoning", "Causal", "Music")
    assert found[0].video == str(tmp_path / "abc.mp4")


def test_omnibench(tmp_path: Path) -> None:
    for name in ("dataset", "mm_data/audio", "mm_data/image"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mm_data" / "image" / "p.png").write_bytes(base64.b64decode(png("red")))
    (tmp_path / "mm_data" / "audio" / "s.mp3").write_bytes(b"sound")
    row = {"index": 7, "question": "Who?", "options": OPTIONS, "answer": "a dog", "audio_path": "s.mp3",
           "image_path": "p.png", "task type": "Action", "audio type": "speech"}  # fmt: skip
    (tmp_path / "dataset" / "all.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = cross_modal.omnibench(tmp_path / "dataset" / "all.jsonl")
    assert (found.id, found.answer, found.categories) == ("7", "C", ("Action", "speech"))
    suites = cross_modal.cross_modal_suites("omnibench", [found], files.readers(), views=True)
    assert [suite.name for suite in suites] == ["omnibench", "omnibench-picture", "omnibench-sound"]
    shown = [suite.questions[0].request() for suite in suites]
    media = [(len(each.images), each.video, len(each.sounds)) for each in shown]
    assert media == [(1, None, 1), (1, None, 0), (0, None, 1)]
    assert {each.text for each in shown} == {
        "Answer the multiple-choice question. Respond with only the letter of the correct option.\n"
        "Question: Who?\nA. a whistle\nB. a bell\nC. a dog\nD. rain"
    }


ROW = {"q": "What?", "o": OPTIONS, "a": "rain", "v": "clip.mp4", "sort": "weather"}


def own_file(folder: Path, suffix: str) -> Path:
    file = folder / f"mine{suffix}"
    if suffix == ".csv":
        with open(file, "w", newline="") as lines:
            writer = csv.DictWriter(lines, list(ROW))
            writer.writeheader()
            writer.writerow({**ROW, "o": json.dumps(OPTIONS)})
    elif suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([ROW]), file)
    else:
        file.write_text(json.dumps([ROW] if suffix == ".json" else ROW))
    return file


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_a_file_of_ones_own(tmp_path: Path, suffix: str) -> None:
    (found,) = cross_modal.own_file(own_file(tmp_path, suffix), {**MAP, "category": "sort"})
    assert (found.question, found.answer, found.categories) == ("What?", "D", ("weather",))
    assert found.video == str(tmp_path / "clip.mp4")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    file = own_file(tmp_path, ".json")
    with pytest.raises(StagesError, match=r"question 0: no field 'options' \(fields: q, o, a, v, sort\)"):
        cross_modal.own_file(file, {})
    file.write_text(json.dumps([{**ROW, "a": "snow"}]))
    with pytest.raises(StagesError, match="answer: expected one of A, B, C, D or an option's text, got 'snow'"):
        cross_modal.own_file(file, MAP)
    with pytest.raises(StagesError, match="expected questions, got a file without any"):
        cross_modal.cross_modal_suites("mcq", [], files.readers(), views=False)
    with pytest.raises(StagesError, match="no speech encoder"):
        cross_modal.cross_modal_suites("mcq", [], files.readers()._replace(has_speech=False), views=False)
    with pytest.raises(StagesError, match=r"expected qa\.json or a folder that has it"):
        cross_modal.daily_omni(tmp_path)
    with pytest.raises(ConfigError, match="--map: expected NAME=FIELD with a NAME of id, question"):
        parse_fields("questions=q")
    assert parse_fields("question=q,video=v") == {"question": "q", "video": "v"}
    assert {"daily-omni", "worldsense", "omnibench", "mcq"} <= {*command.SUITES}


def test_the_gain_of_a_sense_has_an_interval(tmp_path: Path) -> None:
    """Both senses answer six of eight questions, the picture two of them, the sound none."""
    rows = [{**ROW, "q": f"What {n}?", "v": "clip.mp4"} for n in range(8)]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    (tmp_path / "clip.mp4").write_bytes(b"video")
    readers = files.readers()
    suites = cross_modal.cross_modal_suites(
        "mcq", cross_modal.own_file(tmp_path / "mine.json", MAP), readers, views=True
    )

    def reply(request: Request) -> str:
        number = int(request.text.split("What ")[1][0])
        knows = {(True, True): 6, (True, False): 2, (False, True): 0}[request.video is not None, bool(request.sounds)]
        return "D" if number < knows else "A"

    found: dict[str, Any] = dict(evaluate(Scripted(reply), suites, tmp_path / "out", "m"))
    assert [found[name]["value"] for name in ("mcq", "mcq-picture", "mcq-sound")] == [0.75, 0.25, 0.0]
    sound, picture = gains_of(str(tmp_path / "out"), "mcq", found)
    assert (sound.sense, sound.value, picture.sense, picture.value) == ("sound", 0.5, "picture", 0.75)
    assert str(sound) == "sound adds +50.0 points [+3.9, +76.1] over 8 questions"
    assert gains_of(str(tmp_path / "out"), "mcq-sound", found) == []


def test_intervals_of_pairs() -> None:
    assert paired_gain("sound", [(True, False)] * 4)[1:4] == pytest.approx((1.0, 0.1677, 1.0), abs=1e-4)
    assert paired_gain("sound", [(False, True)] * 4)[1:4] == pytest.approx((-1.0, -1.0, -0.1677), abs=1e-4)
    value, low, high = paired_gain("sound", [(True, False), (False, True)] * 10)[1:4]
    assert value == 0
    assert -low == high == pytest.approx(1.959964 * 21**0.5 / 22)
