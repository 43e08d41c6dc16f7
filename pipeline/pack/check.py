"""Read every shard of a run as a trainer does, and report every fault.

A trainer that meets a bad sample stops at night or, worse, silently replaces the sample. So before the hand-off the
whole set is read: headers, indexes, digests, rows, the json, every JPEG and every WAV, and that no video is in train
and val.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import tempfile
import wave
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from manifests import storage
from manifests.records import PackedTask
from manifests.retries import StoreUnreachable
from pipeline.errors import ConfigError
from pipeline.media.audio import RATE
from pipeline.pack.publish import read_rows, stage_of
from pipeline.pack.writer import digest, index_bytes
from stages.catalogue import CURRENT, current
from stages.samples import FAMILIES, IMAGE, KINDS, PICTURES, Sample, Task, members_of, sample_tokens
from stages.shards import RawSample, ShardReader, split_frames

Rows = Mapping[str, list[PackedTask]]


def check_run(root: str) -> Iterator[str]:
    """Yield every fault of the current shard sets, a line each. Raises ConfigError where there is no whole set."""
    root = storage.normal(root)
    folders = current(root)
    if not folders:
        if not storage.exists(storage.join(root, CURRENT)):
            raise ConfigError(f"no shards at {root}: nothing was packed yet")
        yield "shards: pack chose no task; `ola status` tells why"
    keys, tasks = dict[str, str](), dict[str, str]()
    for name, folder in folders.items():
        for fault in check_set(root, folder, stage_of(name), keys, tasks):
            yield f"{folder}/{fault}"


def check_set(root: str, below: str, stage: str, keys: dict[str, str], tasks: dict[str, str]) -> Iterator[str]:
    """Yield the faults of one stage's set in the folder `below` the root.

    keys, tasks: of all sets so far, the shard of each key, and the set of each task.
    """
    folder = storage.join(root, below)
    try:
        rows = read_rows(folder)
    except StoreUnreachable:
        raise
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        advice = "; delete it and do `ola run` again" if not isinstance(error, OSError) else ""
        yield f"shards.parquet: {_one_line(error)}{advice}"
        return
    by_shard: dict[str, list[PackedTask]] = defaultdict(list)
    for row in rows:
        by_shard[row.shard].append(row)
    yield from _check_names(folder, set(by_shard))
    yield from _check_split(rows)
    yield from _check_tasks(rows, below, tasks)
    yield from _check_energon(folder, by_shard)
    for shard in sorted(by_shard):
        for fault in check_shard(folder, shard, stage, by_shard[shard], keys):
            yield f"{shard}: {fault}"


def _check_names(folder: str, expected: set[str]) -> Iterator[str]:
    """Yield faults of names: tars without rows, rows without tars, gaps in the numbers of shards."""
    existing = {entry.path for entry in storage.listing(folder) if entry.path.endswith(".tar")}
    yield from (f"{name}: the shard is missing" for name in sorted(expected - existing))
    yield from (f"{name}: the shard is in no row of shards.parquet" for name in sorted(existing - expected))
    for split in ("train", "val"):
        digits = [name[len(split) + 1 : -4] for name in expected if name.startswith(f"{split}-")]
        numbers = sorted(int(number) for number in digits if number.isdecimal())  # imported shards may have other names
        if numbers != list(range(len(numbers))):
            yield f"{split}: shard numbers have gaps: {numbers}"


def _check_split(rows: Sequence[PackedTask]) -> Iterator[str]:
    sides: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        sides[row.video].add(row.split)
    yield from (f"video {video} is in train and in val" for video, found in sorted(sides.items()) if len(found) > 1)


def _check_tasks(rows: Sequence[PackedTask], below: str, tasks: dict[str, str]) -> Iterator[str]:
    """Yield the ids of tasks that are not unique, in this set or over all sets."""
    counts = Counter(row.id for row in rows)
    yield from (f"task {name} stands in more than one row" for name in sorted(counts) if counts[name] > 1)
    for name in sorted(counts):
        if tasks.setdefault(name, below) != below:
            yield f"shards.parquet: task {name} is also in {tasks[name]}"


def _check_energon(folder: str, rows: Rows) -> Iterator[str]:
    try:
        counts = json.loads(storage.read_bytes(storage.join(folder, ".nv-meta/.info.json")))["shard_counts"]
    except StoreUnreachable:
        raise
    except (OSError, ValueError, KeyError) as error:
        yield f".nv-meta/.info.json: {_one_line(error)}"
        return
    expected = {shard: len({row.key for row in of_shard}) for shard, of_shard in rows.items()}
    if counts != expected:
        yield f".nv-meta/.info.json: counts {counts} but the rows say {expected}"


def check_shard(
    folder: str, shard: str, stage: str, rows: Sequence[PackedTask], owners: dict[str, str]
) -> Iterator[str]:
    """Yield the faults of one tar, its index and its rows."""
    uri = storage.join(folder, shard)
    if not storage.exists(uri):
        return  # `_check_names` reports it
    with tempfile.TemporaryDirectory() as scratch, open(storage.fetch(uri, scratch), "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.stat(file.name).st_size else b"")
        try:
            # scanned without its index: a wrong index is a fault of its own
            reader = ShardReader(data)
        except ValueError as error:
            yield _one_line(error)
            yield from _check_digests(data, rows)
            return
        yield from _check_index(uri, reader.offsets)
        by_key: dict[str, list[PackedTask]] = defaultdict(list)
        for row in rows:
            by_key[row.key].append(row)
        for raw in reader:
            if owners.setdefault(raw.key, uri) != uri:
                yield f"key {raw.key} is also in {owners[raw.key]}"
            whole = data[raw.offset : raw.offset + raw.size]
            for fault in check_sample(raw, stage, by_key.pop(raw.key, []), whole):
                yield f"{raw.key}: {fault}"
        yield from (f"{key}: the sample is missing from the tar" for key in sorted(by_key))


def _check_index(uri: str, offsets: Sequence[int]) -> Iterator[str]:
    try:
        stored = storage.read_bytes(uri + ".idx")
    except StoreUnreachable:
        raise
    except OSError as error:
        yield f".idx: {_one_line(error)}"
        return
    if stored != index_bytes(offsets):
        yield ".idx: offsets are not those of the samples"


def _check_digests(data: memoryview, rows: Sequence[PackedTask]) -> Iterator[str]:
    """Yield the samples, by their rows, that are damaged in a tar that cannot be parsed."""
    for row in rows:
        if digest(data[row.offset : row.offset + row.size]) != row.digest:
            yield f"{row.key}: the bytes are not those that were written (digest)"


def check_sample(raw: RawSample, stage: str, rows: Sequence[PackedTask], whole: memoryview) -> Iterator[str]:
    """Yield the faults of one sample: its bytes, its members, its json, and disagreements between them."""
    if not rows:
        yield "the sample is in no row of shards.parquet"
    for row in rows:
        if (row.offset, row.size) != (raw.offset, raw.size):
            yield f"row {row.id} places it at {row.offset}+{row.size}, it lies at {raw.offset}+{raw.size}"
        elif digest(whole) != row.digest:
            yield "the bytes are not those that were written (digest)"
    expected = next((members_of(row.kind) for row in rows if row.kind in KINDS), FAMILIES[stage])
    if set(raw.members) != set(expected):
        yield f"members {sorted(raw.members)}, expected {sorted(expected)}"
        return
    try:
        sample = Sample.model_validate_json(bytes(raw.members["json"]))
    except ValueError as error:
        yield f"json: {_one_line(error)}"
        return
    yield from _check_json(raw, sample, stage, rows)
    yield from _check_pictures(raw, sample)
    if "wav" in raw.members:
        yield from _check_sound(raw, sample)


def _check_json(raw: RawSample, sample: Sample, stage: str, rows: Sequence[PackedTask]) -> Iterator[str]:
    if (sample.key, sample.stage) != (raw.key, stage):
        yield f"json: it is of key {sample.key}, stage {sample.stage}"
    tasks, listed = {task.id for task in sample.tasks}, {row.id for row in rows}
    if tasks != listed:
        yield f"json: tasks {sorted(tasks)}, rows have {sorted(listed)}"
    for task in sample.tasks:
        kind = KINDS.get(task.kind)
        if kind is None or kind.stage != stage:
            yield f"json: task {task.id} is a {task.kind!r}, which stage {stage} does not have"
        elif task.tags != kind.tags:
            yield f"json: task {task.id} has {task.tags or 'no tag'}, a {task.kind} has {kind.tags}"
        elif (fault := _count_fault(task, sample)) is not None:
            yield f"json: task {task.id} {fault}"
        if not all(turn.value.strip() for turn in task.conversations):
            yield f"json: task {task.id} has an empty turn"
    pictures, seconds = sample.pictures, sample.sound.samples / sample.sound.rate if sample.sound else 0
    for row in rows:
        if row.kind in KINDS:
            floor = sample_tokens(row.kind, pictures, seconds)
            if row.tokens < floor:
                yield f"row {row.id}: {row.tokens} tokens, its media alone take {floor}"


def _count_fault(task: Task, sample: Sample) -> str | None:
    """Return the fault of the number of `<image>` tags, or None: one for a video, one for each of several images."""
    tags, pictures = len(task.turns_with(IMAGE)), len(sample.pictures.bytes)
    expected = pictures if task.kind == "images_chat" else 1
    return f"has {tags} {IMAGE} tags, its media need {expected}" if tags and tags != expected else None


def _check_pictures(raw: RawSample, sample: Sample) -> Iterator[str]:
    from PIL import Image

    data = next((raw.members[name] for name in PICTURES if name in raw.members), memoryview(b""))
    pictures = sample.pictures
    try:
        frames = split_frames(data, pictures.bytes)
    except ValueError as error:
        yield f"frames: {_one_line(error)}"
        return
    if len(pictures.ms) != len(frames) or list(pictures.ms) != sorted(pictures.ms):
        yield f"frames: {len(frames)} pictures with times {list(pictures.ms)}"
    if len(pictures.each) != len(frames):
        yield f"frames: {len(frames)} pictures with {len(pictures.each)} sizes"
        return
    for number, (frame, size) in enumerate(zip(frames, pictures.each, strict=True)):
        try:
            with Image.open(io.BytesIO(bytes(frame))) as image:
                image.load()
                if image.size != size:
                    yield f"frame {number} is {image.size}, the json says {size}"
        except (OSError, SyntaxError) as error:
            yield f"frame {number}: {_one_line(error)}"


def _check_sound(raw: RawSample, sample: Sample) -> Iterator[str]:
    try:
        with wave.open(io.BytesIO(bytes(raw.members["wav"]))) as sound:
            found = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth(), sound.getnframes())
    except (wave.Error, EOFError) as error:
        yield f"wav: {_one_line(error)}"
        return
    expected = (RATE, 1, 2, sample.sound.samples if sample.sound else 0)
    if found != expected:
        yield f"wav: rate, channels, bytes, samples are {found}, expected {expected}"
    elif abs(found[3] / RATE * 1000 - (sample.end_ms - sample.start_ms)) > 1:
        yield f"wav: {found[3] / RATE:.3f} s of sound for a clip of {(sample.end_ms - sample.start_ms) / 1000:.3f} s"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
