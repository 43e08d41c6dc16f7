"""The contents of sources: their sha256, from the ledger where they were read before, else read now by workers.

Only sources of equal size are compared, so most are never read here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.ledger import Manifest, digest, parquet_bytes, read_parquet
from manifests.records import Source
from manifests.retries import StoreAway
from manifests.sources import Registered
from pipeline.engine.actor_pool import Lane, LanePlan
from pipeline.errors import BadMedia
from pipeline.plan import Plan
from pipeline.sources.containers.access import look, source_pieces
from pipeline.sources.containers.members import container_of, is_unmeasured, parted

A_TASK = 32  # sources that a worker reads before it writes down what it found
QUESTIONS = 32  # to a store at once: each waits some 50 ms
INGEST = "ingest"

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


@dataclass(frozen=True)
class Content:
    """The size of a source in bytes, and its sha256; "" for a source that cannot be read."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Unread:
    """A source to read, and its stamp when it was found."""

    uri: str
    stamp: str


def live_uris(found: Sequence[Source], sources: Sequence[Source]) -> set[str]:
    """Uris of these sources whose files are there: found just now, or still in their place, or not known to be gone."""
    if not sources:
        return set()
    there = {source.uri for source in found if source.fault is None}
    absent = [source for source in sources if source.uri not in there]
    # what a container does not have any more that was written again since, and was found just now, is gone
    seen = {container_of(source.uri): _container_stamp(source) for source in found} if absent else {}
    asked = [each.uri for each in absent if seen.get(container_of(each.uri)) in (None, _container_stamp(each))]
    with ThreadPoolExecutor(QUESTIONS) as pool:
        there.update(uri for uri, is_there in zip(asked, pool.map(_is_there, asked), strict=True) if is_there)
    return there


def _container_stamp(source: Source) -> str:
    return source.stamp.rpartition("@")[0] if parted(source.uri) else source.stamp


def _is_there(uri: str) -> bool:
    try:
        return storage.look(container_of(uri)) is not None
    except OSError:  # the store does not answer: taken for gone, its video would lose its place
        return True


class SourceDigests:
    """Digests of sources by uri. Called once for all that registration wants to compare."""

    def __init__(self, plan: Plan, run: Run) -> None:
        """run: brings lanes to work, for what must be read."""
        self.plan, self.run = plan, run

    def __call__(self, wanted: Sequence[Registered]) -> dict[str, str]:
        """sha256 by uri; without those that cannot be read."""
        known = {each.source.uri: each.source.sha256 for each in wanted if each.source.sha256}
        ingested = self._ingested([each for each in wanted if each.source.uri not in known])
        known |= {uri: read.sha256 for uri, read in ingested.items()}
        unread = [Unread(each.source.uri, each.source.stamp) for each in wanted if each.source.uri not in known]
        return known | {uri: read.sha256 for uri, read in self._read(unread).items() if read.sha256}

    def measured(self, rows: Sequence[Registered]) -> dict[str, Content]:
        """Size and sha256 by uri of the rows of tables that a step has read and no index has measured.

        Rows that did not become a video are read once more, by workers: they may be copies as well.
        """
        wanted = [each for each in rows if is_unmeasured(each.source)]
        wanted = wanted and [each for each in wanted if each.part in self._committed()]
        known = self._ingested(wanted)
        unread = [Unread(each.source.uri, each.source.stamp) for each in wanted if each.source.uri not in known]
        return known | self._read(unread)

    @property
    def _ingest(self) -> Manifest | None:
        return next((planned.manifest for planned in self.plan.steps if planned.step.name == INGEST), None)

    def _committed(self) -> Collection[int]:
        return self._ingest.committed() if self._ingest else ()

    def _ingested(self, wanted: Sequence[Registered]) -> dict[str, Content]:
        """Of sources that were ingested, from the rows of their parts."""
        ingest = self._ingest
        uris: dict[int, dict[str, str]] = defaultdict(dict)
        for each in wanted:
            uris[each.part][each.source.id] = each.source.uri
        if ingest is None or not wanted:
            return {}
        parts = sorted(uris.keys() & ingest.committed().keys())
        with ThreadPoolExecutor(QUESTIONS) as pool:
            found = pool.map(partial(contents_of, ingest), parts)
        return {
            uris[part][name]: content
            for part, contents in zip(parts, found, strict=True)
            for name, content in contents.items()
            if name in uris[part]
        }

    def _read(self, unread: Sequence[Unread]) -> dict[str, Content]:
        """By workers, each of which writes down what it found: what was read before a kill is not read again."""
        if not unread:
            return {}
        folder = f"{self.plan.sources.folder}/contents-{digest([asdict(each) for each in unread])}"
        table = pa.Table.from_pylist([asdict(each) for each in unread])
        uri = storage.join(self.plan.root, folder)
        storage.write_bytes(storage.join(uri, "unread.parquet"), parquet_bytes(table))
        numbers = range(-(-len(unread) // A_TASK))
        self.run([LanePlan(partial(ContentLane, uri))], numbers)
        rows = [row for n in numbers for row in read_parquet(_read_uri(uri, n)).to_pylist()]
        storage.remove_folder(uri)
        return {row["uri"]: Content(row["bytes"], row["sha256"]) for row in rows}


def contents_of(ingest: Manifest, part: int) -> dict[str, Content]:
    """What the videos of a committed part of `ingest` hold, by the ids of their sources."""
    table = ingest.read(part).select(["input", "status", "bytes", "sha256"])
    good = table.filter(pc.equal(table["status"], "ok")).to_pylist()
    return {row["input"]: Content(row["bytes"], row["sha256"]) for row in good}


class ContentLane(Lane):
    """Reads sources by the number of their chunk, and writes their digests down."""

    def __init__(self, folder: str) -> None:
        """folder: with the list of all of them."""
        self.folder = folder

    def __call__(self, number: int) -> None:
        """Read one chunk of sources, unless that is done already."""
        uri = _read_uri(self.folder, number)
        if storage.exists(uri):
            return
        table = read_parquet(storage.join(self.folder, "unread.parquet")).slice(number * A_TASK, A_TASK)
        found = [{"uri": row["uri"], **asdict(content(Unread(**row)))} for row in table.to_pylist()]
        schema = pa.schema([("uri", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string())])
        storage.write_bytes(uri, parquet_bytes(pa.Table.from_pylist(found, schema=schema)))


def _read_uri(folder: str, number: int) -> str:
    return storage.join(folder, f"read-{number:06d}.parquet")


def content(unread: Unread) -> Content:
    """What a file holds; nothing if it cannot be read, or is not the one that was found."""
    try:
        found = _read_content(unread)
        now = look(unread.uri, unread.stamp)
    except StoreAway:
        raise
    except (OSError, BadMedia):
        return Content(0, "")
    return found if now is not None and unread.stamp in ("", now.stamp) else Content(0, "")


def _read_content(unread: Unread) -> Content:
    """Read a source piece by piece. Raises OSError, and BadMedia for a row of a damaged row group."""
    found, size = hashlib.sha256(), 0
    for piece in source_pieces(unread.uri, unread.stamp):
        found.update(piece)
        size += len(piece)
    return Content(size, found.hexdigest())
