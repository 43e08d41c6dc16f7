"""Lessons that a tiny model can learn by heart, and short trainings on them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file

from ola.processor import OlaProcessor
from pipeline.media import audio
from stages.recipe import Phase, Recipe
from stages.samples import KINDS, PICTURES, Pictures, Sample, Sound, Task, members_of, turn
from stages.trainer import Training
from tests.ola import tiny
from tests.stages.shardset import RATE, Members, phase, write_set

SMALL = {"image_high": 64, "image_low": 32, "video_max": 64, "video_min": 32}
COLOURS = (
    (220, 30, 30),
    (30, 200, 40),
    (40, 60, 220),
    (230, 210, 40),
    (200, 60, 200),
    (40, 200, 210),
    (250,) * 3,
    (9,) * 3,
)
WORDS = ("red", "green", "blue", "yellow", "pink", "cyan", "white", "black")
SECONDS = 0.5


def picture(number: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), COLOURS[number]).save(data, "JPEG")
    return data.getvalue()


def tone(number: int, seconds: float = SECONDS) -> bytes:
    time = np.arange(int(RATE * seconds)) / RATE
    samples = (12_000 * np.sin(2 * np.pi * 120 * 1.75**number * time)).astype(np.int16)
    return audio.wav_bytes(samples.tobytes())


def lesson(number: int, kind: str, seconds: float = SECONDS) -> tuple[Sample, Members]:
    """A sample whose answer can be told by its colour or its pitch alone."""
    jpegs = [picture(number)] * (1 if "jpg" in members_of(kind) else 2)
    media = {**dict.fromkeys(PICTURES, b"".join(jpegs)), "wav": tone(number, seconds)}
    members = {name: media[name] for name in members_of(kind) if name in media}
    shown = jpegs if set(PICTURES) & set(members) else []
    tags = KINDS[kind].tags * (2 if kind == "images_chat" else 1)
    question = "<speech>\n<image>\n" if kind == "spoken_qa" else f"{tags}\n{kind}?"
    name = f"{kind}{number}"
    talk = (turn("human", question if KINDS[kind].tags else f"{name}?"), turn("gpt", f"{WORDS[number]} {kind[:4]}"))
    said = Sample(
        key=name, stage=KINDS[kind].stage, clip=name, video=name, start_ms=0, end_ms=500,
        pictures=Pictures(width=64, height=64, bytes=tuple(map(len, shown)), ms=tuple(range(len(shown)))),
        sound=Sound(rate=RATE, samples=int(RATE * seconds)) if "wav" in members else None,
        tasks=(Task(id=name, kind=kind, conversations=talk),), scores={}, provenance={}, meta="{}",
    )  # fmt: skip
    return said, members


def lessons(folder: Path, kinds: Iterable[str], count: int) -> tuple[str, ...]:
    """Shard sets with `count` lessons of each kind; kinds of one family share a set."""
    families: dict[tuple[str, ...], list[str]] = {}
    for kind in kinds:
        families.setdefault((KINDS[kind].stage, *members_of(kind)), []).append(kind)
    for number, family in enumerate(families.values()):
        write_set(folder / str(number), [lesson(n, kind) for kind in family for n in range(count)], 1)
    return tuple(str(folder / str(number)) for number in range(len(families)))


def write_model(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> str:
    """The folder of a tiny model; its weights are stored in `dtype`."""
    facts: dict[str, Any] = {"limits": SMALL, "initializer_range": 0.1}
    made = tiny.model(**facts | changes)
    for parameter in made.parameters():
        parameter.data = parameter.data.to(dtype)
    made.save_pretrained(folder)
    OlaProcessor(tiny.tokenizer(), made.config).save_pretrained(folder)
    return str(folder)


ALL = {"vision_tower": 1e-3, "visual_projector": 1e-3, "speech_projector": 1e-3, "decoder": 1e-3}


def training(sources: tuple[str, ...], model: str, out: Path, *phases: Phase, **options: Any) -> Training:
    options = {"decoders": 0} | options
    return Training(Recipe(name="test", phases=phases), sources, model, str(out), **options)


def short(**changes: Any) -> Phase:
    facts: dict[str, Any] = {"lr": ALL, "batch": 2, "sequence_tokens": 300, "steps": 6}
    return phase(**facts | changes)


def logged(out: Path, name: str = "test") -> list[dict[str, Any]]:
    return sorted(pq.read_table(out / name / "log").to_pylist(), key=lambda row: row["step"])


def read(out: Path, name: str = "test") -> Counter[tuple[int, str]]:
    rows = pq.read_table(out / name / "read").to_pylist()
    return Counter((row["step"], row["task"]) for row in rows)


def tensors(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")
