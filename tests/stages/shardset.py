"""Make shard sets by hand: small samples of any task kinds in any number of shards, and their loader."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifests.ledger import parquet_bytes
from manifests.records import PackedTask
from manifests.schema import records_table
from ola.processor import OlaProcessor
from pipeline.media import audio
from pipeline.pack.writer import ShardWriter
from stages.catalogue import Catalogue, read_catalogue
from stages.decoding import Pack
from stages.loader import Loader
from stages.recipe import Phase
from stages.samples import KINDS, Pictures, Sample, Sound, Task, media_tokens, members_of, text_tokens, turn
from stages.sampling import Order

RATE = 16_000
SIZE = (320, 288)  # which Ola takes as it is
FRAMES = 6
WATCHED = ("video_caption", "video_qa")
HEARD = ("cross_modal_qa", "speech_recognition", "subtitle")
Members = dict[str, bytes]


def jpeg(seed: int, size: tuple[int, int] = SIZE, quality: int = 90) -> bytes:
    """A picture of smooth noise, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(data, "JPEG", quality=quality)
    return data.getvalue()


def wav(seed: int, seconds: float = 1.5) -> bytes:
    """Noise, 16-bit mono at 16 kHz."""
    samples = np.random.default_rng(seed).integers(-8000, 8000, int(RATE * seconds), np.int16)
    return audio.wav_bytes(samples.tobytes())


def tasks_of(key: str, kinds: Sequence[str]) -> tuple[Task, ...]:
    """A task of each kind, whose answer bears its id."""
    made = []
    for number, kind in enumerate(kinds):
        name = f"{key}-{kind}-{number}"
        said = (turn("human", f"{KINDS[kind].tags}\nWhat is it?"), turn("gpt", f"It is {name}."))
        made.append(Task(id=name, kind=kind, conversations=said))
    return tuple(made)


def sample(seed: int, *kinds: str, frames: int = FRAMES, seconds: float = 1.5) -> tuple[Sample, Members]:
    """A sample with a task of each kind (all of one family), and its members but for the json."""
    extensions = members_of(kinds[0])
    pictures = [jpeg(1000 * seed + n) for n in range(frames if "mjpg" in extensions else "jpg" in extensions)]
    media = {"jpg": b"".join(pictures), "mjpg": b"".join(pictures), "wav": wav(seed, seconds)}
    members = {extension: media[extension] for extension in extensions if extension in media}
    key = f"clip{seed:04d}-{KINDS[kinds[0]].stage}"
    said = Sample(
        key=key,
        stage=KINDS[kinds[0]].stage,
        clip=f"clip{seed:04d}",
        video=f"video{seed:04d}",
        start_ms=0,
        end_ms=1500,
        pictures=Pictures(
            width=SIZE[0], height=SIZE[1], bytes=tuple(map(len, pictures)), ms=tuple(range(len(pictures)))
        ),
        sound=Sound(rate=RATE, samples=int(RATE * seconds)) if "wav" in members else None,
        tasks=tasks_of(key, kinds),
        scores={},
        provenance={},
        meta="{}",
    )
    return said, members


def samples(count: int, *families: Sequence[str]) -> list[tuple[Sample, Members]]:
    """`count` samples, of the families' kinds in turn."""
    return [sample(seed, *families[seed % len(families)]) for seed in range(count)]


def packed(said: Sample, task: Task, shard: str, placed: Any, split: str) -> PackedTask:
    """A task's row of `shards.parquet`."""
    frames, seconds = len(said.pictures.bytes), 0 if said.sound is None else said.sound.samples / RATE
    width, height = said.pictures.width, said.pictures.height
    text = sum(text_tokens(turn.value) for turn in task.conversations)
    return PackedTask(
        id=task.id, kind=task.kind, stage=said.stage, split=split, shard=shard, key=said.key, clip=said.clip,
        video=said.video, offset=placed.offset, size=placed.size, digest=placed.digest, json_offset=0, json_bytes=0,
        picture_offset=None, picture_bytes=said.pictures.bytes, sound_offset=None, sound_bytes=None,
        tokens=text + media_tokens(task.kind, width, height, frames, seconds),
    )  # fmt: skip


def write_set(
    folder: Path, content: Sequence[tuple[Sample, Members]], shards: int = 2, split: str = "train"
) -> list[PackedTask]:
    """A shard set in `folder`, made if need be: samples are dealt to the shards; returns its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[PackedTask] = []
    for number in range(shards):
        name = f"{split}-{number:06d}.tar"
        with ShardWriter(str(folder / name)) as writer:
            for said, members in content[number::shards]:
                json = said.model_dump_json(by_alias=True).encode()
                placed = writer.add(said.key, {"json": json, **members})
                rows += [packed(said, task, name, placed, split) for task in said.tasks]
    write_rows(folder, rows)
    return rows


def write_rows(folder: Path, rows: Sequence[PackedTask]) -> None:
    """The `shards.parquet` of a set."""
    (folder / "shards.parquet").write_bytes(parquet_bytes(records_table(PackedTask, rows)))


def phase(**changes: Any) -> Phase:
    """A phase of all stages with short sequences; `changes` on top."""
    facts: dict[str, Any] = {
        "name": "test",
        "stages": ["image", "video", "omni"],
        "lr": {"decoder": 1e-5},
        "sequence_tokens": 1500,
        "batch": 3,
    }
    return Phase.model_validate(facts | changes)


def ordered(folder: Path, seed: int = 0, **changes: Any) -> tuple[Catalogue, Order]:
    """The catalogue of a set, and the order of a phase over it."""
    found = read_catalogue([str(folder)])
    return found, Order(found, phase(**changes), seed)


def by_kind(folder: Path, content: Mapping[str, Sequence[tuple[Sample, Members]]]) -> list[str]:
    """Sets in folders of their own below `folder`, by name; returns their paths."""
    for name, some in content.items():
        write_set(folder / name, some)
    return [str(folder / name) for name in content]


@dataclass(frozen=True, eq=False)
class WholeStep:
    """A step whose packs are all read and kept."""

    number: int
    epoch: int
    packs: tuple[Pack, ...]
    rows: np.ndarray
    skipped: list[str]


class WholeLoader(Loader):
    """A loader that reads the packs of a step at once."""

    def __iter__(self) -> Any:
        for step in super().__iter__():
            packs = tuple(step.packs())
            yield WholeStep(step.number, step.epoch, packs, step.rows, step.skipped)


def loader(folder: Path, processor: OlaProcessor, **changes: Any) -> WholeLoader:
    """Over all sets below the folder, or the one that it is; the order's settings among the loader's own."""
    own = {name: changes.pop(name) for name in ("rank", "ranks", "workers", "first", "last") if name in changes}
    sets = [str(folder)] if (folder / "shards.parquet").exists() else sorted(map(str, folder.iterdir()))
    found = read_catalogue(sets)
    order = Order(found, phase(**changes), 0)
    return WholeLoader(found, order, processor, **{"first": 0, "last": order.steps()} | own)
