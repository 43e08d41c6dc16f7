"""Write conversations without media as a shard set, many to a sample.

`ola import` groups records by their media: of those that have none, each would be a sample of its own.
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
LIMIT = PackSettings().shard_mb << 20  # bytes of a shard from which on it is closed
NO_PICTURES = Pictures(width=0, height=0, bytes=(), ms=())


def shelve(root: str, name: str, samples: Iterable[Sample]) -> int:
    """Write samples of one split to `<root>/shards/<stage>/<name>/` and make them a set of the root's; how many tasks.

    A set that was there goes first. Raises ConfigError for none, ValueError for two samples of one key, OSError.
    """
    root = storage.normal(root)
    folder, waiting, shards = storage.join(root, "shards", STAGE, name), iter(samples), 0
    for entry in storage.listing(folder, recursive=True):
        storage.remove(storage.join(folder, entry.path))
    while (first := next(waiting, None)) is not None:
        with storage.draft(storage.join(folder, f"train-{shards:06d}.tar")) as path, ShardWriter(path) as writer:
            _add(writer, first)
            while writer.bytes < LIMIT and (sample := next(waiting, None)) is not None:
                _add(writer, sample)
        shards += 1
    return index_shards(folder, root)


def sample_of(name: str, exchanges: Sequence[Exchange], meta: object) -> Sample:
    """A sample of that name, a task an exchange."""
    return Sample(
        key=key_of(name, STAGE),
        stage=STAGE,
        clip=name,
        video=name,
        start_ms=0,
        end_ms=0,
        pictures=NO_PICTURES,
        sound=None,
        tasks=tuple(_task(f"{name}-{KIND}-{n}", *each) for n, each in enumerate(exchanges)),
        scores=SCORES,
        provenance={**dict.fromkeys(ORIGINS, ""), "origin": "world", "key": ""},
        meta=json.dumps(meta),
    )


def _task(name: str, asked: str, answer: str) -> Task:
    return Task(id=name, kind=KIND, conversations=(turn("human", asked), turn("gpt", answer)))


def _add(writer: ShardWriter, sample: Sample) -> None:
    writer.add(sample.key, {"json": sample.model_dump_json(by_alias=True, exclude_none=False).encode()})
