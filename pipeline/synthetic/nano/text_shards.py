"""Write conversations without media as a shard set, many in each sample.

`ola import` groups records by their media, so it would write a sample for each record without media.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from manifests import storage
from pipeline.importing.reindex import index_shards
from pipeline.pack.build import ORIGINS, SCORES
from pipeline.pack.settings import PackSettings
from pipeline.pack.writer import ShardWriter
from pipeline.synthetic.nano.answers import Exchange
from stages.samples import KINDS, Pictures, Sample, Task, key_of, turn

KIND = "chat"
STAGE = KINDS[KIND].stage
SHARD_BYTES = PackSettings().shard_mb << 20  # size from which a shard is closed
NO_PICTURES = Pictures(width=0, height=0, bytes=(), ms=())


def write_shard_set(root: str, name: str, samples: Iterable[Sample]) -> int:
    """Write samples as the shard set `<root>/shards/<stage>/<name>/`; returns the number of tasks.

    An existing set is replaced. Raises ConfigError without samples, ValueError for two samples with the same key,
    OSError.
    """
    root = storage.normal(root)
    folder, waiting, shards = storage.join(root, "shards", STAGE, name), iter(samples), 0
    for entry in storage.listing(folder, recursive=True):
        storage.remove(storage.join(folder, entry.path))
    while (first := next(waiting, None)) is not None:
        with storage.draft(storage.join(folder, f"train-{shards:06d}.tar")) as path, ShardWriter(path) as writer:
            _add_sample(writer, first)
            while writer.bytes < SHARD_BYTES and (sample := next(waiting, None)) is not None:
                _add_sample(writer, sample)
        shards += 1
    return index_shards(folder, root)


def make_sample(name: str, exchanges: Sequence[Exchange], meta: object) -> Sample:
    """Make a sample with a task for each exchange."""
    return Sample(
        key=key_of(name, STAGE),
        stage=STAGE,
        clip=name,
        video=name,
        start_ms=0,
        end_ms=0,
        pictures=NO_PICTURES,
        sound=None,
        tasks=tuple(_make_task(f"{name}-{KIND}-{n}", *each) for n, each in enumerate(exchanges)),
        scores=SCORES,
        provenance={**dict.fromkeys(ORIGINS, ""), "origin": "world", "key": ""},
        meta=json.dumps(meta),
    )


def _make_task(name: str, prompt: str, answer: str) -> Task:
    return Task(id=name, kind=KIND, conversations=(turn("human", prompt), turn("gpt", answer)))


def _add_sample(writer: ShardWriter, sample: Sample) -> None:
    writer.add(sample.key, {"json": sample.model_dump_json(by_alias=True, exclude_none=False).encode()})
