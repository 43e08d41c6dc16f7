"""Make external data: media in files and patches, and records in the released formats."""

from __future__ import annotations

import io
import json
import os
import tarfile
import wave
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipeline.importing.importer import ImportRequest, Report, import_records
from pipeline.importing.shard_stream import ImportedSample
from pipeline.pack.check import check_run
from stages.catalogue import current
from stages.samples import Sample
from stages.shards import RawSample, ShardReader
from tests.media import pattern

RATE = 16_000


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture unlike any other."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def sound(seconds: float, rate: int = RATE, channels: int = 1) -> bytes:
    """A WAV of a tone."""
    sink = io.BytesIO()
    tone = (8000 * np.sin(np.arange(round(seconds * rate)) / rate * 2000)).astype("<i2")
    with wave.open(sink, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(tone, channels).tobytes())
    return sink.getvalue()


@cache
def frames(count: int, form: str = "JPEG", width: int = 320, height: int = 288) -> tuple[bytes, ...]:
    return tuple(encoded(noise(width, height, n), form) for n in range(count))


def patch(folder: Path, name: str, parts: Sequence[bytes], before: int = 17) -> dict[str, Any]:
    """Write parts end to end behind some bytes; the reference to them."""
    (folder / name).write_bytes(bytes(before) + b"".join(parts))
    return {"patch": name, "start_num": before, "size": [len(part) for part in parts]}


def said(*texts: str) -> list[dict[str, str]]:
    """A conversation that a human begins."""
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def released(folder: Path) -> list[dict[str, Any]]:
    """The six forms of the released data, with media in `folder`."""
    (folder / "a.png").write_bytes(encoded(noise(100, 75, 1), "PNG"))
    (folder / "b.png").write_bytes(encoded(noise(40, 200, 2), "PNG"))
    (folder / "c.wav").write_bytes(sound(1.5))
    video = patch(folder, "frames.patch", frames(5, "PNG", 64, 48))
    asked = "<image>\nUser's question in speech: <speech>"
    return [
        {"id": "image", "image": "a.png", "conversations": said("<image>\nDescribe the image.", "A dog is running.")},
        {"id": "audio", "audio": "c.wav", "conversations": said("<speech>\nTranscribe the speech.", "Hello.")},
        {
            "id": "video_audio",
            "video": video,
            "audio": "c.wav",
            "conversations": said("<speech><image>\nWhat is happening?", "A man speaks."),
        },
        {
            "id": "image_spoken",
            "image": "b.png",
            "audio_q": "c.wav",
            "text_q": asked,
            "conversations": said("<image>\nDescribe the image.", "The music starts."),
        },
        {"id": "text", "conversations": said("hello", "What is this?", "A dog.", "in the park.")},
        {"id": "video", "video": video, "conversations": said("What is happening in this video?<image>", "A dog.")},
    ]


def listed(folder: Path, records: Sequence[Any], name: str = "train.json") -> str:
    """Path of a JSON list of the records."""
    (folder / name).write_text(json.dumps(records), encoding="utf-8")
    return str(folder / name)


def imported(folder: Path, records: Sequence[Any], root: Path, **settings: Any) -> Report:
    """What becomes of the records, whose media are in `folder`; none of them for validation."""
    return import_records(ImportRequest(listed(folder, records), str(folder), **{"val": 0.0, **settings}), str(root))


def samples(root: Path) -> Iterator[tuple[Sample, RawSample]]:
    """Every sample of the current sets."""
    for folder in current(str(root)).values():
        for shard in sorted((root / folder).glob("*.tar")):
            with ShardReader(shard) as reader:
                yield from ((Sample.model_validate_json(bytes(raw.members["json"])), raw) for raw in reader)


def by_kind(root: Path) -> dict[str, tuple[Sample, RawSample]]:
    """The samples by the kind of their first task."""
    return {sample.tasks[0].kind: (sample, raw) for sample, raw in samples(root)}


def dies(_: object) -> ImportedSample:
    """Stands for a decoder that takes its process with it."""
    os._exit(1)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the sets; of tables their rows."""
    return {
        str(path.relative_to(root)): str(pq.read_table(path).to_pylist()).encode()
        if path.suffix == ".parquet"
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def media_folder(folder: Path) -> Path:
    """Write two pictures of different sizes, a sound and a video, and tars and a zip file of all of them."""
    (folder / "a.png").write_bytes(encoded(noise(64, 64, 1), "PNG"))
    (folder / "b.png").write_bytes(encoded(noise(90, 40, 2), "PNG"))
    (folder / "c.wav").write_bytes(sound(0.5))
    (folder / "v").write_bytes(pattern("v.mp4", 1).read_bytes())
    with zipfile.ZipFile(folder / "m.zip", "w") as packed:
        for member in ("a.png", "b.png", "c.wav", "v"):
            packed.write(folder / member, f"in/{member}")
    for name, mode in (("m.tar", "w"), ("m.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as tar:  # type: ignore[call-overload]
            for member in ("a.png", "b.png", "c.wav", "v"):
                tar.add(folder / member, f"in/{member}")
    return folder


def members_of_samples(root: Path, key: str) -> list[dict[str, bytes]]:
    """Return the members of all samples, in the order of their records, without the key of the import."""
    found = sorted(samples(root), key=lambda pair: (pair[0].clip[-9:], pair[0].stage))
    return [{name: bytes(data).replace(key.encode(), b"") for name, data in raw.members.items()} for _, raw in found]


def brought(folder: Path, records: Sequence[Any], root: Path) -> tuple[Report, list[dict[str, bytes]]]:
    """Import records and check the shards; return the report and the members of the samples."""
    report = import_records(ImportRequest(listed(root, records), str(folder), frames=2, val=0.0), str(root))
    assert list(check_run(str(root))) == []
    return report, members_of_samples(root, report.key)
