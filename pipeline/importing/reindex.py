"""Index tars of samples in our format that have no rows: tars made elsewhere, or copied without `shards.parquet`.

In: a folder of `.tar`s below a root. Out: `.tar.idx`, `.nv-meta` and `shards.parquet` beside them, and the set's name
in `shards/current.json`. The tars are not changed. Tars whose names begin with `val` are for validation.
"""

from __future__ import annotations

import mmap
import tempfile

from manifests import storage
from manifests.ledger import digest as key_of_facts
from manifests.records import PackedTask
from manifests.schema import records_table
from pipeline.errors import ConfigError
from pipeline.pack.build import packed_rows
from pipeline.pack.publish import complete_set, publish_sets
from pipeline.pack.writer import PlacedSample, digest, index_bytes
from stages.samples import KINDS, Sample, sample_tokens, text_tokens
from stages.shards import RawSample, ShardReader
from stages.tar_format import Member, members


def index_shards(folder: str, root: str) -> int:
    """Index the tars of a folder and return the number of their tasks. Raises ConfigError with tar and sample."""
    folder, root = storage.normal(folder), storage.normal(root)
    if not folder.startswith(f"{root}/"):
        raise ConfigError(f"{folder} is not below {root}: move or link the folder to a place below it")
    tars = [entry.path for entry in storage.listing(folder) if entry.path.endswith(".tar") and "/" not in entry.path]
    if not tars:
        raise ConfigError(f"{folder}: expected .tar files, found none")
    rows = [row for tar in tars for row in _index_tar(folder, tar)]
    stages = sorted({row.stage for row in rows})
    if len(stages) != 1:
        raise ConfigError(f"{folder}: expected samples of one stage, got {', '.join(stages)}; use a folder per stage")
    complete_set(folder, [records_table(PackedTask, rows)])
    subfolder = folder.removeprefix(f"{root}/")
    publish_sets(root, {f"{stages[0]}_{key_of_facts(subfolder)}": subfolder})
    return len(rows)


def _index_tar(folder: str, tar: str) -> list[PackedTask]:
    """Write the index of a tar and return its rows. Raises ConfigError if a sample is invalid."""
    uri, rows = storage.join(folder, tar), list[PackedTask]()
    with tempfile.TemporaryDirectory() as scratch, open(storage.fetch(uri, scratch), "rb") as file:
        try:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            reader = ShardReader(data)
            tar_members = {member.name: member for member in members(data)}
            for raw in reader:
                rows += _task_rows(tar, raw, tar_members, data[raw.offset : raw.offset + raw.size])
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{uri}: {' '.join(str(error).split())}") from error
    storage.write_bytes(uri + ".idx", index_bytes(reader.offsets))
    return rows


def _task_rows(tar: str, raw: RawSample, tar_members: dict[str, Member], data: memoryview) -> list[PackedTask]:
    if "json" not in raw.members:
        raise ValueError(f"sample {raw.key} has no json; for other formats give `ola import` a JSON file of records")
    sample = Sample.model_validate_json(bytes(raw.members["json"]))
    if (
        unknown := [task.kind for task in sample.tasks if task.kind not in KINDS]
        or sample.key != raw.key.rpartition("/")[2]
    ):
        raise ValueError(f"sample {raw.key}: its json has the key {sample.key} and unknown task kinds {unknown}")
    placed = PlacedSample(
        raw.offset,
        raw.size,
        digest(data),
        {extension: tar_members[f"{raw.key}.{extension}"] for extension in raw.members},
    )
    seconds = sample.sound.samples / sample.sound.rate if sample.sound else 0.0
    facts = [
        {
            "split": "val" if tar.startswith("val") else "train",
            "tokens": sample_tokens(task.kind, sample.pictures, seconds)
            + text_tokens("".join(turn.value for turn in task.conversations)),
        }
        for task in sample.tasks
    ]
    return list(packed_rows(sample, facts, tar, placed))
