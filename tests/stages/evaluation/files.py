"""Tiny benchmarks in the layouts of the real ones, and a model with scripted answers."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from manifests import storage
from manifests.ledger import parquet_bytes
from manifests.records import PackedTask
from manifests.schema import records_table
from ola.prompt import Answer, Request, Wave
from pipeline.pack.writer import ShardWriter
from stages.evaluation.questions import MediaReaders, Unreadable
from stages.samples import KINDS, Pictures, Sample, Sound, Task, turn

COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "l2-category", "image")
VIDEO_QA = (
    ("001", "dog-7", "short", "Counting Problem", "001-1", "B"),
    ("001", "dog-7", "short", "OCR Problems", "001-2", "A"),
    ("002", "gone-1", "long", "OCR Problems", "002-1", "C"),
)
SPEECH = {
    "test-clean/61/70968": {
        "61-70968-0000": "HE BEGAN A CONFUSED COMPLAINT",
        "61-70968-0001": "MISTER SMITH HAS TWENTY TWO",
    },
    "test-other/367/130732": {"367-130732-0000": "LOBSTERS AND LOBSTERS"},
}
TASKS = (
    ("cross_modal_qa", "Why does it ring?", "The kettle boils"),
    ("cross_modal_qa", "Which one?\nA) the red one\nB) the blue one", "A"),
    ("speech_recognition", "Write it down.", "now put the kettle on"),
    ("sound_caption", "Describe the sound.", "a kettle whistles loudly"),
)


class Scripted:
    """An answerer. reply: the text to a request; a ValueError that it raises is one of a request that cannot be."""

    def __init__(self, reply: Callable[[Request], str]) -> None:
        self.reply = reply
        self.asked: list[Request] = []
        self.sizes: list[int] = []

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        texts = [self.reply(request) for request in requests]  # as Ola: all are prepared before one is answered
        answers = [Answer(text, tuple(range(len(text))), "stop", 7, {"total": 0.5}) for text in texts]
        self.asked += requests
        self.sizes.append(len(requests))
        for index, answer in enumerate(answers):
            if on_answer is not None:
                on_answer(index, answer)
        return answers


def png(colour: str, side: int = 40) -> str:
    """A picture as MMBench stores it."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def mmbench_rows() -> list[dict[str, str]]:
    """Two questions; the first with a copy whose options are rotated and whose picture is that of row 7."""
    red = {"index": "7", "question": 'Which "colour"?', "hint": "", "A": "red", "B": "blue", "C": "", "D": ""}
    plain = {"category": "attribute", "l2-category": "perception", "image": png("red"), "answer": "A"}
    turned = {"index": "1000007", "A": "blue", "B": "red", "answer": "B", "image": "7"}
    other = {"index": "9", "question": "What is it?", "hint": "Two\nlines", "C": "a cube", "answer": "C"}
    return [red | plain, red | plain | turned, red | plain | other | {"image": png("blue"), "category": "shape"}]


def mmbench(path: Path, rows: Sequence[dict[str, str]] | None = None, columns: Sequence[str] = COLUMNS) -> Path:
    """A TSV as pandas writes it: what holds a quote or a newline is quoted."""

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if set(text) & set('"\n\t') else text

    lines = [[cell(row.get(name, "")) for name in columns] for row in rows or mmbench_rows()]
    path.write_text("".join("\t".join(line) + "\n" for line in [list(columns), *lines]), encoding="utf-8")
    return path


def videomme(folder: Path, video: Path | None = None) -> Path:
    """The Parquet file of three questions, as published; `video` is put where the first video belongs."""
    rows = [
        {
            "video_id": number,
            "duration": duration,
            "domain": "Knowledge",
            "videoID": name,
            "question_id": question,
            "task_type": task,
            "question": f"What about {question}?",
            "options": ["A. A dog.", "B. Two cats.", "C. A bird.", "D. Nothing."],
            "answer": answer,
        }
        for number, name, duration, task, question, answer in VIDEO_QA
    ]
    file = folder / "videomme" / "test-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    (folder / "data").mkdir()
    (folder / "data" / "dog-7.mp4").write_bytes(b"" if video is None else video.read_bytes())
    return file


def flac(path: Path, seconds: float = 0.5, rate: int = 16_000) -> None:
    """A tone in a real FLAC."""
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        container.mux([*stream.encode(frame), *stream.encode(None)])


def librispeech(folder: Path) -> Path:
    """Two subsets; the last utterance has a transcript and no sound."""
    for chapter, said in SPEECH.items():
        place = folder / chapter
        place.mkdir(parents=True)
        lines = "".join(f"{name} {text}\n" for name, text in said.items())
        (place / f"{'-'.join(place.parts[-2:])}.trans.txt").write_text(lines, encoding="utf-8")
        for name in said:
            if not name.startswith("367"):
                flac(place / f"{name}.flac")
    return folder


def shards(root: Path, split: str = "val") -> Path:
    """A run's shards of one sample of four tasks: three frames of 64x64 and half a second of sound."""
    folder = root / "shards" / "omni" / "key"
    folder.mkdir(parents=True)
    tasks = [
        Task(
            id=f"clip-{kind}-{number}",
            kind=kind,
            conversations=(turn("human", f"{KINDS[kind].tags}\n{text}"), turn("gpt", answer)),
            needs="both" if kind == "cross_modal_qa" else "",
        )
        for number, (kind, text, answer) in enumerate(TASKS)
    ]
    jpegs = [base64.b64decode(png(colour, 64)) for colour in ("red", "green", "blue")]
    sample = Sample(
        key="clip-omni",
        stage="omni",
        clip="clip",
        video="video",
        start_ms=0,
        end_ms=500,
        pictures=Pictures(width=64, height=64, bytes=tuple(map(len, jpegs)), ms=(0, 200, 400)),
        sound=Sound(rate=16_000, samples=8000),
        tasks=tuple(tasks),
        scores={},
        provenance={},
        meta="{}",
    )
    facts = sample.model_dump_json(by_alias=True).encode()
    with ShardWriter(str(folder / f"{split}-000000.tar")) as shard:
        placed = shard.add(sample.key, {"json": facts, "mjpg": b"".join(jpegs), "wav": wav()})
    rows = [packed(task, split, placed.offset, placed.size, placed.digest) for task in tasks]
    storage.write_bytes(str(folder / "shards.parquet"), parquet_bytes(records_table(PackedTask, rows)))
    facts = json.dumps({"key": "key", "folders": {"omni": "shards/omni/key"}}).encode()
    storage.write_bytes(str(root / "shards" / "current.json"), facts)
    return root


def packed(task: Task, split: str, offset: int, size: int, digest: str) -> PackedTask:
    unused: dict[str, Any] = {"json_offset": 0, "json_bytes": 0, "picture_offset": 0, "picture_bytes": (1,)}
    return PackedTask(
        id=task.id,
        kind=task.kind,
        stage="omni",
        split=split,
        shard=f"{split}-000000.tar",
        key="clip-omni",
        clip="clip",
        video="video",
        offset=offset,
        size=size,
        digest=digest,
        sound_offset=None,
        sound_bytes=None,
        tokens=100,
        **unused,
    )


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        made.writeframes(np.arange(8000, dtype="<i2").tobytes())
    return file.getvalue()


def readers(frames: int = 64, has_speech: bool = True) -> MediaReaders:
    """Media that need no decoder: a video is its file's name in grey, and an empty one cannot be read."""

    def watch(path: str, frames: int) -> tuple[list[np.ndarray], Wave]:
        if not Path(path).stat().st_size:
            raise Unreadable(f"{path}: empty")
        return [np.full((64, 64, 3), len(path) % 256, np.uint8)] * frames, hear(path)

    def hear(path: str) -> Wave:
        return Wave(np.zeros(1600, np.float32))

    return MediaReaders(watch, hear, frames, has_speech)
