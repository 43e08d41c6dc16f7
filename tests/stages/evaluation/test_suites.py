"""Files in each benchmark's layout, and the exact requests to the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ola.prompt import Wave
from stages.errors import StagesError
from stages.evaluation.benchmarks import librispeech, mmbench, videomme
from stages.evaluation.held_out import held_out_suites
from stages.evaluation.questions import Unreadable
from tests.stages.evaluation import files


def test_mmbench(tmp_path: Path) -> None:
    suite = mmbench(files.mmbench(tmp_path / "dev.tsv"), files.readers())
    first, turned, other = suite.questions
    assert first.text == (
        'Question: Which "colour"?\nOptions:\nA. red\nB. blue\nPlease select the correct answer from the options above.'
    )
    assert other.text.startswith("Hint: Two\nlines\nQuestion: What is it?\nOptions:\nA. red\nB. blue\nC. a cube\n")
    assert [question.reference for question in suite.questions] == ["A", "B", "C"]
    assert first.group == turned.group != other.group
    assert other.categories == ("perception", "shape")
    [picture] = turned.request().images
    assert np.asarray(picture)[0, 0].tolist() == [255, 0, 0]  # the picture of the row that it names


def test_mmbench_that_is_none(tmp_path: Path) -> None:
    columns = tuple(name for name in files.COLUMNS if name != "answer")
    with pytest.raises(StagesError, match=r"test\.tsv: .* missing columns: answer; test splits have no answers"):
        mmbench(files.mmbench(tmp_path / "test.tsv", columns=columns), files.readers())
    wrong = [files.mmbench_rows()[0] | {"answer": "D"}]
    with pytest.raises(StagesError, match="row '7': answer: expected one of A, B, got 'D'"):
        mmbench(files.mmbench(tmp_path / "wrong.tsv", wrong), files.readers())
    (tmp_path / "ragged.tsv").write_text("index\tquestion\n1\n2\t3\t4\n")
    for path in (tmp_path / "ragged.tsv", tmp_path, tmp_path / "absent.tsv"):
        with pytest.raises(StagesError, match="expected MMBench's TSV"):
            mmbench(path, files.readers())


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    rows = [files.mmbench_rows()[0] | {"image": "bm90IGEgcGljdHVyZQ==" * 9}]
    [question] = mmbench(files.mmbench(tmp_path / "dev.tsv", rows), files.readers()).questions
    with pytest.raises(Unreadable, match="not a picture"):
        question.request()


def test_videomme(tmp_path: Path) -> None:
    video = tmp_path / "made"
    video.write_bytes(b"video")
    parquet = files.videomme(tmp_path / "set", video)
    for path in (parquet, tmp_path / "set"):
        suite = videomme(path, files.readers(frames=3))
        assert [(question.id, question.reference) for question in suite.questions] == [
            (question, answer) for *_, question, answer in files.VIDEO_QA
        ]
    first, second, gone = suite.questions
    assert first.text == (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\nWhat about 001-1?\nA. A dog.\nB. Two cats.\nC. A bird.\n"
        "D. Nothing.\nThe best answer is:"
    )
    assert first.options["B"] == "Two cats."
    assert first.categories == ("short", "Counting Problem")
    asked = first.request()
    assert isinstance(asked.video, list)
    assert len(asked.video) == 3
    assert len(asked.sounds) == 1
    assert second.request().video is asked.video  # read once
    with pytest.raises(Unreadable, match="no video gone-1 or 002"):
        gone.request()


def test_a_deaf_model_only_sees(tmp_path: Path) -> None:
    video = tmp_path / "made"
    video.write_bytes(b"video")
    files.videomme(tmp_path / "set", video)
    assert videomme(tmp_path / "set", files.readers(has_speech=False)).questions[0].request().sounds == []
    with pytest.raises(StagesError, match="no speech encoder"):
        librispeech(files.librispeech(tmp_path / "speech"), files.readers(has_speech=False))


def test_videomme_that_is_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"other": [1]}), tmp_path / "other.parquet")
    with pytest.raises(StagesError, match="expected Video-MME's Parquet file with the columns"):
        videomme(tmp_path, files.readers())
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(StagesError, match="expected Video-MME's Parquet file"):
        videomme(tmp_path, files.readers())


def test_librispeech(tmp_path: Path) -> None:
    suite = librispeech(files.librispeech(tmp_path), files.readers())
    said = {name: text for chapter in files.SPEECH.values() for name, text in chapter.items()}
    assert {question.id: question.reference for question in suite.questions} == said
    assert [question.categories for question in suite.questions] == [("test-clean",), ("test-clean",), ("test-other",)]
    assert [type(sound) for sound in suite.questions[0].request().sounds] == [Wave]
    with pytest.raises(Unreadable, match=r"no 367-130732-0000\.flac or \.wav"):
        suite.questions[2].request()
    one = librispeech(tmp_path / "test-clean", files.readers())
    assert {question.categories for question in one.questions} == {("test-clean",)}
    with pytest.raises(StagesError, match="expected transcripts in LibriSpeech's layout"):
        librispeech(tmp_path / "test-clean" / "none", files.readers())


def test_held_out_shards(tmp_path: Path) -> None:
    suites = {suite.name: suite for suite in held_out_suites(str(files.shards(tmp_path)), files.readers(frames=2))}
    names = {name: suite.metric.name for name, suite in suites.items()}
    assert names == {
        "shards-cross_modal_qa": "F1",
        "shards-sound_caption": "F1",
        "shards-speech_recognition": "word error",
    }
    why, which = suites["shards-cross_modal_qa"].questions
    assert (why.text, why.reference, why.options) == ("Why does it ring?", "The kettle boils", {})
    assert (which.reference, which.options) == ("the red one", {"A": "the red one", "B": "the blue one"})
    assert why.categories == ("omni", "both")
    asked = why.request()
    frames: Any = asked.video
    assert [np.asarray(frame)[0, 0].tolist() for frame in frames] == [[255, 0, 0], [0, 0, 255]]
    [sound] = asked.sounds
    assert isinstance(sound, Wave)
    assert (sound.rate, sound.samples.tolist()) == (16_000, list(range(8000)))
    assert which.request().video is asked.video
    heard = suites["shards-sound_caption"].questions[0].request()
    assert heard.video is None
    assert len(heard.sounds) == 1


def test_four_views(tmp_path: Path) -> None:
    suites = held_out_suites(str(files.shards(tmp_path)), files.readers(), views=True)
    shown = {}
    for suite in suites[:4]:
        request = suite.questions[0].request()
        shown[suite.name] = (request.video is not None, len(request.sounds))
    assert shown == {
        "shards-cross_modal_qa": (True, 1),
        "shards-cross_modal_qa-video": (True, 0),
        "shards-cross_modal_qa-audio": (False, 1),
        "shards-cross_modal_qa-text": (False, 0),
    }
    assert len(suites) == 6


def test_shards_without_any_held_out(tmp_path: Path) -> None:
    with pytest.raises(StagesError, match="no task of the split 'val'"):
        held_out_suites(str(files.shards(tmp_path / "run", split="train")), files.readers())
    with pytest.raises(StagesError, match="no shards"):
        held_out_suites(str(tmp_path), files.readers())
