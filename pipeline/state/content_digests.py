"""Find the sha256 of sources: from the ledger if they were read before, else by workers that read the files.

Only sources of equal size are compared, so most sources are never read here.
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
from manifests.retries import StoreUnreachable
from manifests.sources import Registered
from pipeline.engine.lane_plan import Lane, LanePlan
from pipeline.errors import BadMedia
from pipeline.plan import Plan
from pipeline.sources.containers.access import current_entry, source_pieces
from pipeline.sources.containers.members import container_of, is_unmeasured, split_uri

A_TASK = 32  # sources per task of a worker, whose digests are written to one file
QUESTIONS = 32  # concurrent requests to a store: each takes some 50 ms
INGEST = "ingest"

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


@dataclass(frozen=True)
class Content:
    """The size of a source in bytes, and its sha256; "" for a source that cannot be read."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class UnreadSource:
    """A source to read, and its stamp from discovery."""

    uri: str
    stamp: str


def live_uris(found: Sequence[Source], sources: Sequence[Source]) -> set[str]:
    """Return the uris of the sources that exist: those just found, and those still in the store or in a container."""
    if not sources:
        return set()
    present = {source.uri for source in found if source.fault is None}
    absent = [source for source in sources if source.uri not in present]
    # a member that is missing in a rewritten container no longer exists
    stamps = {container_of(source.uri): _container_stamp(source) for source in found} if absent else {}
    to_check = [each.uri for each in absent if stamps.get(container_of(each.uri)) in (None, _container_stamp(each))]
    with ThreadPoolExecutor(QUESTIONS) as pool:
        present.update(uri for uri, is_there in zip(to_check, pool.map(_exists, to_check), strict=True) if is_there)
    return present


def _container_stamp(source: Source) -> str:
    return source.stamp.rpartition("@")[0] if split_uri(source.uri) else source.stamp


def _exists(uri: str) -> bool:
    try:
        return storage.stat(container_of(uri)) is not None
    except OSError:  # the store does not answer: if the source counted as missing, its video would lose its place
        return True


class SourceDigests:
    """Finds digests of sources. Registration calls it once with all sources that it compares."""

    def __init__(self, plan: Plan, run: Run) -> None:
        """run: runs lanes on an engine, to read sources."""
        self.plan, self.run = plan, run

    def __call__(self, wanted: Sequence[Registered]) -> dict[str, str]:
        """Return the sha256 by uri, without sources that cannot be read."""
        known = {each.source.uri: each.source.sha256 for each in wanted if each.source.sha256}
        ingested = self._contents_from_ledger([each for each in wanted if each.source.uri not in known])
        known |= {uri: read.sha256 for uri, read in ingested.items()}
        found = self._contents_from_workers([each for each in wanted if each.source.uri not in known])
        return known | {uri: read.sha256 for uri, read in found.items() if read.sha256}

    def measure(self, rows: Sequence[Registered]) -> dict[str, Content]:
        """Return size and sha256, by uri, of table rows that a step has read but no index has measured.

        Rows that did not become a video are read again by workers, since they may be copies, too.
        """
        wanted = [each for each in rows if is_unmeasured(each.source)]
        wanted = wanted and [each for each in wanted if each.part in self._committed()]
        known = self._contents_from_ledger(wanted)
        return known | self._contents_from_workers([each for each in wanted if each.source.uri not in known])

    @property
    def _ingest(self) -> Manifest | None:
        return next((planned.manifest for planned in self.plan.steps if planned.step.name == INGEST), None)

    def _committed(self) -> Collection[int]:
        return self._ingest.committed() if self._ingest else ()

    def _contents_from_ledger(self, wanted: Sequence[Registered]) -> dict[str, Content]:
        """Return the contents of ingested sources by uri, from the rows of their parts."""
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

    def _contents_from_workers(self, wanted: Sequence[Registered]) -> dict[str, Content]:
        """Have workers read the sources. Each task stores its results in a file, so that a kill loses few of them."""
        unread = [UnreadSource(each.source.uri, each.source.stamp) for each in wanted]
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
    """Return the contents of the videos of a committed part of `ingest`, by source id."""
    table = ingest.read(part).select(["input", "status", "bytes", "sha256"])
    good = table.filter(pc.equal(table["status"], "ok")).to_pylist()
    return {row["input"]: Content(row["bytes"], row["sha256"]) for row in good}


class ContentLane(Lane):
    """A lane whose numbers are chunks of sources to read; the digests are written to a file per chunk."""

    def __init__(self, folder: str) -> None:
        """folder: holds the list of all sources to read."""
        self.folder = folder

    def __call__(self, number: int) -> None:
        """Read one chunk of sources, unless its file exists."""
        uri = _read_uri(self.folder, number)
        if storage.exists(uri):
            return
        table = read_parquet(storage.join(self.folder, "unread.parquet")).slice(number * A_TASK, A_TASK)
        found = [{"uri": row["uri"], **asdict(content(UnreadSource(**row)))} for row in table.to_pylist()]
        schema = pa.schema([("uri", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string())])
        storage.write_bytes(uri, parquet_bytes(pa.Table.from_pylist(found, schema=schema)))


def _read_uri(folder: str, number: int) -> str:
    return storage.join(folder, f"read-{number:06d}.parquet")


def content(unread: UnreadSource) -> Content:
    """Return the content of a source; Content(0, "") if the file cannot be read or has changed since discovery."""
    try:
        found = _read_content(unread)
        now = current_entry(unread.uri, unread.stamp)
    except StoreUnreachable:
        raise
    except (OSError, BadMedia):
        return Content(0, "")
    return found if now is not None and unread.stamp in ("", now.stamp) else Content(0, "")


def _read_content(unread: UnreadSource) -> Content:
    """Read a source in blocks. Raises OSError, and BadMedia for a row of a damaged row group."""
    found, size = hashlib.sha256(), 0
    for piece in source_pieces(unread.uri, unread.stamp):
        found.update(piece)
        size += len(piece)
    return Content(size, found.hexdigest())
