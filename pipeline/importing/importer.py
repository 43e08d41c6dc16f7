"""Import external data once: read records and media, write shard sets as `pack` does, and report each record.

<root>/shards/<stage>/<key>/                  the sets, listed in `shards/current.json` with the run's own sets
<root>/import-<key>.parquet                   one row per record: `ok` with its task and its repairs, or `failed` with
                                              its reason

The report is written last; if the report exists, the import does nothing. An import that was killed skips the records
of closed shards and continues at its open shards. Consecutive records with the same media share a sample.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from manifests import storage
from manifests.ledger import FAILED, OK, LawBroken, digest, parquet_bytes, read_parquet
from manifests.schema import from_rows, records_table
from pipeline.errors import BadMedia, ConfigError, RunError
from pipeline.importing.entries import Entry, make_entry, record_id
from pipeline.importing.record_files import read_records
from pipeline.importing.samples import make_sample
from pipeline.importing.shard_stream import ImportedSample, ImportOutcome, ShardStream, failed_outcome
from pipeline.pack.lanes import rows_uri
from pipeline.pack.publish import complete_set, publish_sets
from pipeline.pack.settings import PackSettings
from pipeline.state.lease import exclusive_run
from pipeline.steps.extract import ExtractSettings
from stages.catalogue import ROWS, current
from stages.samples import IMPORTED, SEPARATE_SETS

VERSION = 1
QUEUED = 2  # groups per worker: one running, one waiting
StreamKey = tuple[str, str]  # kind and split


@dataclass(frozen=True)
class ImportRequest:
    """The input and the settings of an import.

    file: of the records. media: folder or URI of their media. frames: limit per video. val: share of the media that
    goes to validation. workers: processes that decode; 0: this process decodes. Their number never changes the result.
    """

    file: str
    media: str
    frames: int = 48
    val: float = 0.02
    shard_mb: int = PackSettings().shard_mb
    workers: int = 0


@dataclass(frozen=True)
class Report:
    """The outcome of every record, in the order of the file. fresh: this call made the import."""

    key: str
    outcomes: Sequence[ImportOutcome]
    fresh: bool

    @property
    def name(self) -> str:
        """Path of the report below the root."""
        return report_name(self.key)

    @property
    def packed(self) -> int:
        """Number of records in the shards."""
        return sum(outcome.status == OK for outcome in self.outcomes)

    @property
    def reasons(self) -> Counter[str]:
        """Number of failed records by reason."""
        return Counter(outcome.reason or "" for outcome in self.outcomes if outcome.status == FAILED)

    @property
    def mended(self) -> Counter[str]:
        """Number of repaired records by kind of repair."""
        return Counter(kind for outcome in self.outcomes for kind in outcome.mended)


def import_records(request: ImportRequest, root: str, strict: bool = False, retry: bool = False) -> Report:
    """Import a file of records, or return the report of an earlier import. retry: import again if records failed.

    Raises ConfigError if the file cannot be read, RunError if another process works at the root. strict: raise RunError
    at the first record that fails or needs a repair.
    """
    root = storage.normal(root)
    key = import_key(request)
    report = storage.join(root, report_name(key))
    with exclusive_run(root):
        if storage.exists(report):
            found = Report(key, from_rows(ImportOutcome, read_parquet(report).to_pylist()), fresh=False)
            if strict:
                _check_strict(found.outcomes)
            if not (retry and found.reasons):
                _delete_shard_rows(root, key)
                return found
            _delete_shard_rows(root, key)
            storage.remove(report)
        _unpublish(root, key)
        outcomes = _write_shards(request, root, key, strict)
        _publish(root, key)
        storage.write_bytes(report, parquet_bytes(records_table(ImportOutcome, outcomes)))
        _delete_shard_rows(root, key)
    return Report(key, outcomes, fresh=True)


def import_key(request: ImportRequest) -> str:
    """Return the digest of the file's bytes and of the settings that affect shards. The place of the media does not."""
    try:
        with open(request.file, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{request.file}: {error.strerror}") from error
    settings = [request.frames, request.val, request.shard_mb, ExtractSettings().quality, PackSettings().context]
    return digest({"step": "import", "version": VERSION, "json": content, "settings": settings})


def report_name(key: str) -> str:
    """Return the path of an import's report below the root."""
    return f"import-{key}.parquet"


def set_folder(kind: str, key: str) -> str:
    """Return the folder, below the root, of the shards of a kind."""
    return f"shards/{IMPORTED[kind].stage}/{key}" + (f"-{kind}" if kind in SEPARATE_SETS else "")


def _set_name(kind: str, key: str) -> str:
    return f"{IMPORTED[kind].stage}_{key}" + (f"_{kind}" if kind in SEPARATE_SETS else "")


def _write_shards(request: ImportRequest, root: str, key: str, strict: bool) -> list[ImportOutcome]:
    """Write all missing shards and return the outcomes of all records."""
    limit, rejected = request.shard_mb << 20, list[ImportOutcome]()
    with ExitStack() as stack:
        streams = {
            (kind, split): stack.enter_context(ShardStream(storage.join(root, set_folder(kind, key)), split, limit))
            for kind in IMPORTED
            for split in ("train", "val")
        }
        groups = _group_by_media(_pending_entries(request, streams, rejected))
        for stream_key, imported in make_samples(
            partial(make_sample, request.media, request.frames, key), groups, request.workers
        ):
            if strict:
                _check_strict([*rejected, *imported.outcomes])
            streams[stream_key].add_sample(imported)
    outcomes = sorted(
        [*rejected, *(outcome for stream in streams.values() for outcome in stream.outcomes)],
        key=lambda outcome: outcome.number,
    )
    if [outcome.number for outcome in outcomes] != list(range(len(outcomes))):
        raise LawBroken(f"import of {request.file}: expected one row per record; some records have none or two")
    if strict:
        _check_strict(outcomes)
    return outcomes


def _pending_entries(
    request: ImportRequest, streams: dict[StreamKey, ShardStream], rejected: list[ImportOutcome]
) -> Iterator[tuple[StreamKey, Entry]]:
    """Yield the entries of records without an outcome in a closed shard; add invalid records to `rejected`."""
    for number, record in read_records(request.file):
        try:
            entry = make_entry(number, record)
        except BadMedia as error:
            rejected.append(failed_outcome(number, record_id(record), str(error), error.detail))
            continue
        stream_key = (entry.kind, "val" if int(entry.identity[:8], 16) < request.val * 2**32 else "train")
        if number > streams[stream_key].last_done:
            yield stream_key, entry


def _group_by_media(entries: Iterable[tuple[StreamKey, Entry]]) -> Iterator[tuple[StreamKey, list[Entry]]]:
    """Group consecutive entries of one stream with the same media: a group becomes one sample."""
    open_groups: dict[StreamKey, list[Entry]] = {}
    for stream_key, entry in entries:
        group = open_groups.get(stream_key)
        if group and any(entry.media) and group[0].media == entry.media:
            group.append(entry)
            continue
        if group:
            yield stream_key, group
        open_groups[stream_key] = [entry]
    yield from open_groups.items()


def make_samples(
    work: partial[ImportedSample], groups: Iterable[tuple[StreamKey, list[Entry]]], workers: int
) -> Iterator[tuple[StreamKey, ImportedSample]]:
    """Yield the sample of each group in order. workers: processes that work on the next groups meanwhile."""
    if not workers:
        yield from ((stream_key, work(group)) for stream_key, group in groups)
        return
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    queue: deque[tuple[StreamKey, list[Entry], Future[ImportedSample]]] = deque()
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for stream_key, group in groups:
                queue.append((stream_key, group, pool.submit(work, group)))
                if len(queue) > QUEUED * workers:
                    yield queue[0][0], queue[0][2].result()
                    queue.popleft()
            while queue:
                yield queue[0][0], queue[0][2].result()
                queue.popleft()
    except BrokenProcessPool as error:
        numbers = f"{queue[0][1][0].number} to {queue[-1][1][-1].number}"
        raise RunError(
            f"a process died at one of the records {numbers}; remove the record whose media kill the process"
        ) from error


def _check_strict(outcomes: Iterable[ImportOutcome]) -> None:
    """Raise RunError if an outcome is `failed` or has repairs."""
    for outcome in outcomes:
        if outcome.status == FAILED:
            why = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
            raise RunError(
                f"record {outcome.number} ({outcome.id}): {why} (without --strict: a `failed` row of the report)"
            )
        if outcome.mended:
            repairs = ", ".join(outcome.mended)
            raise RunError(
                f"record {outcome.number} ({outcome.id}): needs repair: {repairs} (without --strict: repaired)"
            )


def _closed_shards(root: str, folder: str) -> list[str]:
    """Return the names of the closed shards of a folder, in order."""
    rows = storage.listing(storage.join(root, folder, "rows"))
    names = (entry.path.removesuffix(".parquet") for entry in rows)
    return [name for name in names if not name.endswith(".fates")]


def _publish(root: str, key: str) -> None:
    """Complete and announce the sets. Delete tars without rows, left by a killed attempt."""
    imported: dict[str, str | None] = {}
    for kind in IMPORTED:
        folder = set_folder(kind, key)
        shards, full = _closed_shards(root, folder), storage.join(root, folder)
        for entry in storage.listing(full):
            if entry.path.split(".")[0] not in shards and ".tar" in entry.path:
                storage.remove(storage.join(full, entry.path))
        if shards:
            tables = [read_parquet(rows_uri(full, shard)) for shard in shards]
            complete_set(full, tables)
            imported[_set_name(kind, key)] = folder
    publish_sets(root, imported)


def _unpublish(root: str, key: str) -> None:
    """Remove the sets from `shards/current.json` so that nobody reads them while their tars are rewritten."""
    names: dict[str, Any] = {_set_name(kind, key): None for kind in IMPORTED}
    if names.keys() & current(root).keys():
        publish_sets(root, names)
    for kind in IMPORTED:
        storage.remove(storage.join(root, set_folder(kind, key), ROWS))


def _delete_shard_rows(root: str, key: str) -> None:
    """Delete the rows and outcomes of single shards, which only served to write the sets."""
    for kind in IMPORTED:
        rows = storage.join(root, set_folder(kind, key), "rows")
        for entry in storage.listing(rows):
            storage.remove(storage.join(rows, entry.path))
