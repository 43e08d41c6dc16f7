"""Several pictures in a sample, in any turn: training and evaluation give what the model makes of the same request."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Request
from pipeline.pack.check import check_run
from pipeline.pack.export import export_ola_json
from stages.catalogue import Place, read_catalogue
from stages.decoding import Decoder
from stages.evaluation.held_out import held_out_suites
from stages.evaluation.runner import evaluate
from stages.samples import Sample
from stages.shards import split_frames
from stages.trainer import train
from tests.pipeline.outside import encoded, imported, noise, said, samples
from tests.stages.evaluation import files
from tests.stages.lessons import logged, short, training, write_model

TOKENS = 12  # of an answer
SIZES = {"a.png": (64, 64), "b.png": (90, 40), "c.png": (40, 130)}
BRIEF = {"from": "system", "value": "Be brief."}
RECORDS: list[dict[str, Any]] = [
    {"image": ["a.png", "b.png"], "conversations": said("<image>\n<image>\nCompare.", "Red, blue")},
    {"image": ["b.png", "a.png"], "conversations": said("<image>\n<image>\nCompare.", "Blue, red")},
    {"image": "a.png", "conversations": said("Hello", "Hi", "<image>\nAnd this?", "Red")},
    {
        "image": ["c.png", "a.png", "b.png"],
        "conversations": [BRIEF, *said("<image>\nThis?", "Green", "<image>\n<image>\nAnd these?", "Red, blue")],
    },
    {"image": ["c.png", "a.png", "b.png"], "conversations": said("<image>\n<image>\n<image>\nHow many?", "Three")},
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records in shards for training, in `train`, and for validation, in `val`."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (name, size) in enumerate(SIZES.items()):
        (folder / name).write_bytes(encoded(noise(*size, number), "PNG"))
    for split, val in (("train", 0.0), ("val", 1.0)):
        report = imported(folder, RECORDS, folder / split, val=val)
        assert report.packed == len(RECORDS), report.reasons
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))


def stored(root: Path) -> Iterator[tuple[Sample, list[Image.Image], int]]:
    """Every sample with its pictures, and the number of the record of its first task."""
    for sample, raw in samples(root):
        data = raw.members.get("jpgs", raw.members.get("jpg", memoryview(b"")))
        pictures: list[Image.Image] = [
            Image.open(io.BytesIO(jpeg)) for jpeg in split_frames(data, sample.pictures.bytes)
        ]
        yield sample, pictures, int(sample.clip[-9:])


def by_hand(processor: OlaProcessor, root: Path) -> dict[str, Prompt]:
    """What the records say, made of the stored pictures without the loader; by the task's id."""
    prompts = {}
    for sample, pictures, first in stored(root):
        for number, task in enumerate(sample.tasks, first):
            turns = [(turn["from"], turn["value"]) for turn in RECORDS[number]["conversations"]]
            prompts[task.id] = processor.sample(turns, [processor.image(picture) for picture in pictures])
    return prompts


def test_pictures_keep_their_order_and_each_its_size(root: Path) -> None:
    assert list(check_run(str(root / "train"))) == []
    fitted = {"a.png": (64, 64), "b.png": (96, 64), "c.png": (64, 160)}
    found = {first: (sample, pictures) for sample, pictures, first in stored(root / "train")}
    assert sorted(found) == [0, 1, 2, 3]
    for first, (sample, pictures) in found.items():
        names = RECORDS[first]["image"]
        sizes = [fitted[name] for name in ([names] if isinstance(names, str) else names)]
        assert [picture.size for picture in pictures] == sizes == list(sample.pictures.each)
    assert [turn.speaker for turn in found[3][0].tasks[0].conversations][:2] == ["system", "human"]
    assert len(found[3][0].tasks) == 2  # of the same pictures: they are stored once


def test_a_step_of_training_learns_what_the_model_makes_of_the_records(root: Path, model: str, tmp_path: Path) -> None:
    processor = OlaProcessor.from_pretrained(model)
    expected = by_hand(processor, root / "train")
    table = read_catalogue([str(root / "train")]).table.to_pylist()
    places = [Place(n, row["id"], row["uri"], row["offset"], row["size"]) for n, row in enumerate(table)]
    loaded = Decoder(processor, 0)[places]
    assert not isinstance(loaded, Exception)
    assert loaded.faults == ()
    for place, prompt in zip(places, loaded.pack.prompts, strict=True):
        assert torch.equal(prompt.input_ids, expected[place.task].input_ids)
        assert [medium.digest for medium in prompt.visuals] == [one.digest for one in expected[place.task].visuals]
    prompts = [expected[place.task] for place in places]
    losses = {}
    for read in ("sdpa", "packed"):
        ola = OlaForConditionalGeneration.from_pretrained(model, attn_implementation=read)
        with torch.no_grad():
            losses[read] = float(ola(prompts).loss)
    assert losses["packed"] == pytest.approx(losses["sdpa"], rel=1e-5)
    one_step = short(steps=1, batch=64, sequence_tokens=2000)
    train(training((str(root / "train"),), model, tmp_path, one_step), say=len)
    [row] = logged(tmp_path)
    assert row["loss"] == pytest.approx(losses["sdpa"], rel=1e-4)


def test_what_is_evaluated_is_the_models_own_answer(
    root: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.evaluation.held_out.MAX_TOKENS", TOKENS)
    ola = Ola.from_pretrained(model)
    suites = held_out_suites(str(root / "val"), files.readers(frames=1))
    evaluate(ola, suites, tmp_path, "model")
    found = {question.id: question for suite in suites for question in suite.questions}
    asked = {}
    for sample, pictures, first in stored(root / "val"):
        for number, task in enumerate(sample.tasks, first):
            asked[task.id] = request(number, pictures)
    assert found.keys() == asked.keys()
    answers = ola.generate(list(asked.values()))
    given = {row["id"]: row["answer"] for row in rows(tmp_path)}
    assert given == {name: answer.text for name, answer in zip(asked, answers, strict=True)}
    for name, expected in asked.items():
        one, other = (ola.processor.prompt(each) for each in (found[name].request(), expected))
        assert torch.equal(one.input_ids, other.input_ids)
        assert [medium.digest for medium in one.visuals] == [medium.digest for medium in other.visuals]


def request(number: int, pictures: list[Image.Image]) -> Request:
    """What a record asks last, written by hand."""
    asked = [
        Request("Compare.", pictures),
        Request("Compare.", pictures),
        Request("And this?", pictures, history=[("Hello", "Hi")], media_turns=[1]),
        Request("And these?", pictures, history=[("This?", "Green")], media_turns=[0, 1, 1], system="Be brief."),
        Request("How many?", pictures),
    ]
    return Request(**{**vars(asked[number]), "max_new_tokens": TOKENS})


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in (folder / "answers").glob("*.parquet") for row in pq.read_table(file).to_pylist()]


def test_what_is_exported_comes_back_as_it_was(root: Path, tmp_path: Path) -> None:
    assert export_ola_json(str(root / "train"), tmp_path / "ola.json") == len(RECORDS)
    records = json.loads((tmp_path / "ola.json").read_text())
    assert not any(turn["from"] == "system" for record in records for turn in record["conversations"])
    [with_system] = [r for r in records if "Be brief." in r["conversations"][0]["value"]]
    assert with_system["conversations"][0]["value"] == "<image>\nBe brief.\nThis?"
    report = imported(tmp_path, records, tmp_path / "again")
    assert report.packed == len(RECORDS), report.reasons
    before, after = (
        sorted({bytes(raw.members.get("jpgs", raw.members.get("jpg", b""))) for _, raw in samples(where)})
        for where in (root / "train", tmp_path / "again")
    )
    assert before == after
