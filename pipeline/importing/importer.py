"""Import external data once: read JSON and media, write shard sets as pack does, and report each record.

<root>/shards/<stage>/<key>/                  the sets, named in `shards/current.json` beside the run's own
<root>/import-<key>.parquet                   a row a record: `ok` with its task and what was mended in it, or
                                              `failed` with its reason

The report is written last: where it is, nothing is done again. Records that closed shards are about are passed over, so
a killed import goes on at its open shards. Records that follow each other with the same media share a sample.
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
from pipeline.importing.entries import Entry, entry_of, name_of
from pipeline.importing.record_files import records
from pipeline.importing.samples import make_sample
from pipeline.importing.shard_stream import ImportedSample, ImportOutcome, ShardStream, failed
from pipeline.pack.lanes import rows_uri
from pipeline.pack.publish import announce, complete
from pipeline.pack.settings import PackSettings
from pipeline.state.lease import exclusive_run
from pipeline.steps.extract import ExtractSettings
from stages.catalogue import ROWS, current
from stages.samples import APART, IMPORTED

VERSION = 1
WAITING = 2  # groups a worker has before it: one at work, one ready
Place = tuple[str, str]  # kind and split


@dataclass(frozen=True)
class Wanted:
    """What to import, and how: the `file` of records, the folder or URI of its media, frames of a video at most, share
    of media for validation, size of a shard. workers: processes that decode; 0: this one. They never change the result.
    """

    file: str
    media: str
    frames: int = 48
    val: float = 0.02
    shard_mb: int = PackSettings().shard_mb
    workers: int = 0


@dataclass(frozen=True)
class Report:
    """What became of every record, in the order of the file; `fresh`: in this call."""

    key: str
    fates: Sequence[ImportOutcome]
    fresh: bool

    @property
    def name(self) -> str:
        """The file of the report, below the root."""
        return report_name(self.key)

    @property
    def packed(self) -> int:
        """Records that are in the shards."""
        return sum(fate.status == OK for fate in self.fates)

    @property
    def reasons(self) -> Counter[str]:
        """How many records were left out, by reason."""
        return Counter(fate.reason or "" for fate in self.fates if fate.status == FAILED)

    @property
    def mends(self) -> Counter[str]:
        """In how many records something was mended, by its kind."""
        return Counter(kind for fate in self.fates for kind in fate.mended)


def import_records(wanted: Wanted, root: str, strict: bool = False, retry: bool = False) -> Report:
    """Import a JSON, unless that was done. retry: anew if some of its records failed.

    Raises ConfigError for a file that is none, RunError where another process works at the root, or, if strict, for
    the first record that cannot be used or had to be mended.
    """
    root = storage.normal(root)
    key = key_of_import(wanted)
    report = storage.join(root, report_name(key))
    with exclusive_run(root):
        if storage.exists(report):
            found = Report(key, from_rows(ImportOutcome, read_parquet(report).to_pylist()), fresh=False)
            if strict:
                _refuse(found.fates)
            if not (retry and found.reasons):
                _tidy(root, key)
                return found
            _tidy(root, key)
            storage.remove(report)
        _withdraw(root, key)
        fates = _write(wanted, root, key, strict)
        _publish(root, key)
        storage.write_bytes(report, parquet_bytes(records_table(ImportOutcome, fates)))
        _tidy(root, key)
    return Report(key, fates, fresh=True)


def key_of_import(wanted: Wanted) -> str:
    """Digest of the bytes of the JSON and of what else the shards follow from; not of where the media lie."""
    try:
        with open(wanted.file, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{wanted.file}: {error.strerror}") from error
    settings = [wanted.frames, wanted.val, wanted.shard_mb, ExtractSettings().quality, PackSettings().context]
    return digest({"step": "import", "version": VERSION, "json": content, "settings": settings})


def report_name(key: str) -> str:
    """The file of an import's report, below the root."""
    return f"import-{key}.parquet"


def folder_of(kind: str, key: str) -> str:
    """Folder below the root of what is imported as `kind`."""
    return f"shards/{IMPORTED[kind].stage}/{key}" + (f"-{kind}" if kind in APART else "")


def _set_name(kind: str, key: str) -> str:
    return f"{IMPORTED[kind].stage}_{key}" + (f"_{kind}" if kind in APART else "")


def _write(wanted: Wanted, root: str, key: str, strict: bool) -> list[ImportOutcome]:
    """Write all shards that are not there yet; returns the fates of all records."""
    limit, lost = wanted.shard_mb << 20, list[ImportOutcome]()
    with ExitStack() as stack:
        shelves = {
            (kind, split): stack.enter_context(ShardStream(storage.join(root, folder_of(kind, key)), split, limit))
            for kind in IMPORTED
            for split in ("train", "val")
        }
        groups = _groups(_placed(wanted, shelves, lost))
        for place, made in ahead(partial(make_sample, wanted.media, wanted.frames, key), groups, wanted.workers):
            if strict:
                _refuse([*lost, *made.fates])
            shelves[place].take(made)
    fates = sorted([*lost, *(fate for shelf in shelves.values() for fate in shelf.fates)], key=lambda fate: fate.number)
    if [fate.number for fate in fates] != list(range(len(fates))):
        raise LawBroken(f"import of {wanted.file}: some records have no row, or two")
    if strict:
        _refuse(fates)
    return fates


def _placed(
    wanted: Wanted, shelves: dict[Place, ShardStream], lost: list[ImportOutcome]
) -> Iterator[tuple[Place, Entry]]:
    """The records that no closed shard is about; what cannot be placed is `lost`."""
    for number, record in records(wanted.file):
        try:
            entry = entry_of(number, record)
        except BadMedia as error:
            lost.append(failed(number, name_of(record), str(error), error.detail))
            continue
        place = (entry.kind, "val" if int(entry.identity[:8], 16) < wanted.val * 2**32 else "train")
        if number > shelves[place].done:
            yield place, entry


def _groups(placed: Iterable[tuple[Place, Entry]]) -> Iterator[tuple[Place, list[Entry]]]:
    """Entries that share a sample: those of the same media that follow each other in one place."""
    open_groups: dict[Place, list[Entry]] = {}
    for place, entry in placed:
        group = open_groups.get(place)
        if group and any(entry.media) and group[0].media == entry.media:
            group.append(entry)
            continue
        if group:
            yield place, group
        open_groups[place] = [entry]
    yield from open_groups.items()


def ahead(
    work: partial[ImportedSample], groups: Iterable[tuple[Place, list[Entry]]], workers: int
) -> Iterator[tuple[Place, ImportedSample]]:
    """What becomes of the groups, in their order; processes work some groups ahead."""
    if not workers:
        yield from ((place, work(group)) for place, group in groups)
        return
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    waiting: deque[tuple[Place, list[Entry], Future[ImportedSample]]] = deque()
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for place, group in groups:
                waiting.append((place, group, pool.submit(work, group)))
                if len(waiting) > WAITING * workers:
                    yield waiting[0][0], waiting[0][2].result()
                    waiting.popleft()
            while waiting:
                yield waiting[0][0], waiting[0][2].result()
                waiting.popleft()
    except BrokenProcessPool as error:
        numbers = f"{waiting[0][1][0].number} to {waiting[-1][1][-1].number}"
        raise RunError(
            f"a process died at one of the records {numbers}; take out the one whose medium does it"
        ) from error


def _refuse(fates: Iterable[ImportOutcome]) -> None:
    for fate in fates:
        if fate.status == FAILED:
            why = f"{fate.reason}: {fate.detail}" if fate.detail else fate.reason
            raise RunError(f"record {fate.number} ({fate.id}): {why} (without --strict it becomes a row of the report)")
        if fate.mended:
            mends = ", ".join(fate.mended)
            raise RunError(f"record {fate.number} ({fate.id}): needs mending: {mends} (without --strict it is mended)")


def _shards(root: str, folder: str) -> list[str]:
    """Names of the shards whose rows wait in a folder, in order."""
    rows = storage.listing(storage.join(root, folder, "rows"))
    names = (entry.path.removesuffix(".parquet") for entry in rows)
    return [name for name in names if not name.endswith(".fates")]


def _publish(root: str, key: str) -> None:
    """Complete the sets and say that they are there. A tar of no row, which a killed attempt left, is deleted."""
    made: dict[str, str | None] = {}
    for kind in IMPORTED:
        folder = folder_of(kind, key)
        shards, full = _shards(root, folder), storage.join(root, folder)
        for entry in storage.listing(full):
            if entry.path.split(".")[0] not in shards and ".tar" in entry.path:
                storage.remove(storage.join(full, entry.path))
        if shards:
            tables = [read_parquet(rows_uri(full, shard)) for shard in shards]
            complete(full, tables)
            made[_set_name(kind, key)] = folder
    announce(root, made)


def _withdraw(root: str, key: str) -> None:
    """While its tars are written anew, nobody is to read a set."""
    names: dict[str, Any] = {_set_name(kind, key): None for kind in IMPORTED}
    if names.keys() & current(root).keys():
        announce(root, names)
    for kind in IMPORTED:
        storage.remove(storage.join(root, folder_of(kind, key), ROWS))


def _tidy(root: str, key: str) -> None:
    """Delete what only served to write the sets."""
    for kind in IMPORTED:
        rows = storage.join(root, folder_of(kind, key), "rows")
        for entry in storage.listing(rows):
            storage.remove(storage.join(rows, entry.path))
