"""Write one shard: read the media of its samples from the parts' tars, write the tar and its index, return its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from manifests import storage
from manifests.records import Media, PackedTask
from pipeline.annotation.text_rules import format_question
from pipeline.media.audio import RATE, WAV_HEAD
from pipeline.media.media_store import MediaReader
from pipeline.pack.writer import PlacedSample, ShardWriter, index_bytes
from pipeline.prompts import prompt
from stages.samples import FAMILIES, KINDS, PICTURES, UNSAID, Pictures, Sample, Sound, Task, TimedText, turn

# score -> value where it was not measured; loudness: the gate of ITU-R BS.1770
SCORES = {
    "motion": 0,
    "frozen": 0,
    "black": 0,
    "silence": 1,
    "loudness": -70,
    "words": 0,
    "coverage": 0,
    "complete": 0,
    "informative": 0,
}
ORIGINS = ("uri", "origin", "track", "language", "word_times")


def write_shard(
    root: str, folder: str, stage: str, shard: str, content: Iterable[dict[str, Any]], plan_key: str
) -> list[PackedTask]:
    """Write `<shard>.tar` and its index. Returns a row for each task in it.

    content: of its tasks; those of a sample follow each other.
    """
    uri = storage.join(folder, f"{shard}.tar")
    read = MediaReader(root)
    rows: list[PackedTask] = []
    with storage.draft(uri) as path:
        with ShardWriter(path) as writer:
            for key, tasks in groupby(content, key=lambda row: str(row["key"])):
                group = list(tasks)
                sample = make_sample(key, stage, group, plan_key)
                placed = writer.add(key, sample_members(sample, group[0], read))
                rows += packed_rows(sample, group, f"{shard}.tar", placed)
        offsets = writer.offsets
    storage.write_bytes(uri + ".idx", index_bytes(offsets))
    return rows


def sample_members(sample: Sample, row: Mapping[str, Any], read: MediaReader) -> dict[str, bytes | memoryview]:
    """Return the sample's files by extension, in the order of its family."""
    frames = Media(**row["pictures"])
    begin, end = middle_frame(row["frame_bytes"])
    contents: dict[str, Callable[[], bytes | memoryview]] = {
        "json": lambda: sample.model_dump_json(by_alias=True, exclude_none=False).encode(),
        "mjpg": lambda: read(frames),
        "jpg": lambda: read(replace(frames, offset=frames.offset + begin, size=end - begin)),
        "wav": lambda: read(Media(**row["sound"])),
    }
    return {extension: contents[extension]() for extension in FAMILIES[sample.stage]}


def middle_frame(sizes: list[int]) -> tuple[int, int]:
    """Return where the middle frame begins and ends: the image that represents a clip."""
    at = len(sizes) // 2
    return sum(sizes[:at]), sum(sizes[: at + 1])


def make_sample(key: str, stage: str, rows: list[dict[str, Any]], plan_key: str) -> Sample:
    """Make a sample from the rows of its tasks, which are equal in all columns of the clip."""
    row = rows[0]
    at = len(row["frame_bytes"]) // 2
    frames = slice(at, at + 1) if "jpg" in FAMILIES[stage] else slice(None)
    sound = row["sound"] if "wav" in FAMILIES[stage] else None
    return Sample(
        key=key,
        stage=stage,
        clip=row["clip"],
        video=row["video"],
        start_ms=row["start_ms"],
        end_ms=row["end_ms"],
        pictures=Pictures(
            width=row["width"],
            height=row["height"],
            bytes=tuple(row["frame_bytes"][frames]),
            ms=tuple(row["frame_ms"][frames]),
        ),
        sound=None if sound is None else Sound(rate=RATE, samples=(sound["size"] - WAV_HEAD) // 2),
        tasks=tuple(make_task(row) for row in rows),
        scores={name: absent if row[name] is None else row[name] for name, absent in SCORES.items()},
        provenance={**{name: row[name] or "" for name in ORIGINS}, "made_by": _made_by(rows), "key": plan_key},
        meta=row["meta"],
    )


def _made_by(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the software, dtype and device that answered for the tasks; "" where no model did, or it is unknown."""
    return "; ".join(sorted({row["made_by"] for row in rows if row["made_by"]}))


def make_task(row: Mapping[str, Any]) -> Task:
    """Make the task of one row: its own question or the prompt of its kind, and the times of its answer."""
    kind = row["kind"]
    segments = row["segments"] or ()
    evidence = ({**span, "text": span["sense"]} for span in row.get("evidence") or ())
    return Task(
        id=f"{row['clip']}-{kind}-{row['number']}",
        kind=kind,
        conversations=(
            turn("human", f"{KINDS[kind].tags}\n{_question(row)}"),
            turn("gpt", row["answer"]),
        ),
        times=tuple(_timed_text(each) for each in (*segments, *evidence)) or UNSAID,
        words=tuple(_timed_text(word) for segment in segments for word in segment["words"]) or UNSAID,
        needs=row["needs"] or "",
        origin=row.get("task_origin") or "",
        field=row.get("task_field") or "",
    )


def _question(row: Mapping[str, Any]) -> str:
    if row["question"] is None:
        return prompt(row["kind"])
    return format_question(row["question"], row["options"] or ())


def _timed_text(row: Mapping[str, Any]) -> TimedText:
    return TimedText(start=row["start"], end=row["end"], text=row["text"])


def packed_rows(
    sample: Sample, rows: Iterable[Mapping[str, Any]], shard: str, placed: PlacedSample
) -> Iterator[PackedTask]:
    """Yield rows of `shards.parquet` for the tasks of a written sample."""
    members = placed.members
    picture, sound = next((members[name] for name in PICTURES if name in members), None), members.get("wav")
    for row, task in zip(rows, sample.tasks, strict=True):
        yield PackedTask(
            id=task.id,
            kind=task.kind,
            stage=sample.stage,
            split=row["split"],
            shard=shard,
            key=sample.key,
            clip=sample.clip,
            video=sample.video,
            offset=placed.offset,
            size=placed.size,
            digest=placed.digest,
            json_offset=members["json"].offset,
            json_bytes=members["json"].size,
            picture_offset=None if picture is None else picture.offset,
            picture_bytes=sample.pictures.bytes,
            sound_offset=None if sound is None else sound.offset,
            sound_bytes=None if sound is None else sound.size,
            tokens=row["tokens"],
        )
