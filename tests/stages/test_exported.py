"""The export for the original trainer gives the token ids, pixels and sound of this project's loader."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ola.processor import OlaProcessor
from ola.prompt import Prompt, Wave
from pipeline.engine.engines import InlineEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.pack.export import export_ola_json
from pipeline.pack.publish import pack
from pipeline.pack.settings import PackSettings
from stages.catalogue import read_catalogue
from stages.sampling import Order
from tests.ola import tiny
from tests.pipeline.test_pack_tasks import annotated
from tests.stages.shardset import WholeLoader, phase


def patched(reference: dict[str, Any]) -> list[bytes]:
    """The bytes that a patch reference means, as the released data's description has it: sizes from an offset on."""
    sizes = reference["size"] if isinstance(reference["size"], list) else [reference["size"]]
    with open(reference["patch"], "rb") as file:
        file.seek(reference["start_num"])
        return [file.read(size) for size in sizes]


def exported(record: dict[str, Any], processor: OlaProcessor) -> Prompt:
    """A record of the exported JSON as a sample."""
    visuals, sounds = [], []
    if "image" in record:
        visuals = [processor.image(Image.open(io.BytesIO(patched(record["image"])[0])))]
    if "video" in record:
        visuals = [processor.video([Image.open(io.BytesIO(jpeg)) for jpeg in patched(record["video"])])]
    if "audio" in record:
        with wave.open(io.BytesIO(patched(record["audio"])[0])) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            sounds = [processor.sound(Wave(pcm, file.getframerate()))]
    return processor.sample([(turn["from"], turn["value"]) for turn in record["conversations"]], visuals, sounds)


def test_the_exported_samples_are_those_of_the_loader(tmp_path: Path) -> None:
    root, model = tmp_path / "run", tiny.model()
    processor = OlaProcessor(tiny.tokenizer(), model.config)
    pack(
        annotated(root, [range(4)]),
        PackSettings(val=0),
        lambda make, numbers: InlineEngine().map([LanePlan(make)], numbers),
    )
    export_ola_json(str(root), tmp_path / "ola.json")
    records = {record["id"]: record for record in json.loads((tmp_path / "ola.json").read_text())}
    tasks = read_catalogue([str(root)])
    order = Order(tasks, phase(sequence_tokens=4000))
    seen = set()
    for step in WholeLoader(tasks, order, processor, 0, order.steps()):
        for pack_ in step.packs:
            for name, ours in zip(tasks.ids(pack_.rows), pack_.prompts, strict=True):
                theirs = exported(records[name], processor)
                assert same(ours, theirs), name
                seen.add(name)
    assert seen == set(records)
    kinds = {"image" in r for r in records.values()} | {"video" in r for r in records.values()}
    assert kinds == {True, False}


def same(one: Prompt, other: Prompt) -> bool:
    """Token ids, labels, pixels and features are equal."""
    assert one.labels is not None
    assert other.labels is not None
    pairs = [(one.input_ids, other.input_ids), (one.labels, other.labels)]
    for ours, theirs in zip(one.visuals, other.visuals, strict=True):
        pairs += zip(ours.views, theirs.views, strict=True)
    for heard, told in zip(one.sounds, other.sounds, strict=True):
        pairs += [(heard.mel, told.mel), (heard.fbank, told.fbank)]
    return all(torch.equal(left, right) for left, right in pairs)
