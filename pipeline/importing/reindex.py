"""Tars of samples in our form that lack rows: made elsewhere, or copied without them.

In: a folder of `.tar`s below a root. Out: `.tar.idx`, `.nv-meta` and `shards.parquet` beside them, and the set's name
in `shards/current.json`; the tars stay as they are. Tars whose names begin with `val` are for validation.
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
from pipeline.pack.publish import announce, complete
from pipeline.pack.writer import Placed, digest, index_bytes
from stages.samples import KINDS, Sample, sample_tokens, text_tokens
from stages.shards import RawSample, ShardReader
from stages.tar_format import Member, members


def index(folder: str, root: str) -> int:
    """Index the tars of a folder; returns the number of their tasks. Raises ConfigError naming tar and sample."""
    folder, root = storage.normal(folder), storage.normal(root)
    if not folder.startswith(f"{root}/"):
        raise ConfigError(f"{folder} is not below {root}: move or link it there, so that the root can be moved as one")
    tars = [entry.path for entry in storage.listing(folder) if entry.path.endswith(".tar") and "/" not in entry.path]
    if not tars:
        raise ConfigError(f"{folder}: no .tar in it")
    rows = [row for tar in tars for row in _indexed(folder, tar)]
    stages = sorted({row.stage for row in rows})
    if len(stages) != 1:
        raise ConfigError(f"{folder}: samples of {len(stages)} stages ({', '.join(stages)}); one folder, one stage")
    complete(folder, [records_table(PackedTask, rows)])
    below = folder.removeprefix(f"{root}/")
    announce(root, {f"{stages[0]}_{key_of_facts(below)}": below})
    return len(rows)


def _indexed(folder: str, tar: str) -> list[PackedTask]:
    """The rows of one tar, whose index is written."""
    uri, rows = storage.join(folder, tar), list[PackedTask]()
    with tempfile.TemporaryDirectory() as scratch, open(storage.fetch(uri, scratch), "rb") as file:
        try:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            reader = ShardReader(data)
            lying = {member.name: member for member in members(data)}
            for raw in reader:
                rows += _rows(tar, raw, lying, data[raw.offset : raw.offset + raw.size])
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{uri}: {' '.join(str(error).split())}") from error
    storage.write_bytes(uri + ".idx", index_bytes(reader.offsets))
    return rows


def _rows(tar: str, raw: RawSample, lying: dict[str, Member], whole: memoryview) -> list[PackedTask]:
    if "json" not in raw.members:
        raise ValueError(f"sample {raw.key} has no json; `ola import` brings other forms in from a JSON")
    sample = Sample.model_validate_json(bytes(raw.members["json"]))
    if (
        strange := [task.kind for task in sample.tasks if task.kind not in KINDS]
        or sample.key != raw.key.rpartition("/")[2]
    ):
        raise ValueError(f"sample {raw.key}: its json is of {sample.key}, with tasks {strange} that are not known")
    placed = Placed(
        raw.offset, raw.size, digest(whole), {extension: lying[f"{raw.key}.{extension}"] for extension in raw.members}
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
