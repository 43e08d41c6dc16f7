"""From the names that a user gives to the sources and videos that are to be removed, with all their exact copies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from manifests import storage, views
from manifests.ledger import Manifest
from manifests.sources import Registered, SourceManifest
from pipeline.errors import ConfigError
from pipeline.media.video_file import video_id
from pipeline.removal.rows import step_manifests
from pipeline.sources.containers.members import is_unmeasured
from pipeline.state.content_digests import INGEST, UnreadSource, content
from pipeline.state.registration import removed_source

SHORTEST = 6  # characters of an id that are enough to name it
ID = re.compile(r"\b[0-9a-f]{20}\b")
CLIP = re.compile(r"([0-9a-f]{20})-\d{9}-\d{9}.*")
KNOWN = "SELECT input, id, sha256, reason, detail FROM ingest"


@dataclass(frozen=True)
class IngestOutcome:
    """What `ingest` says of a source. said: reason and detail of one that was dropped or failed."""

    video: str = ""
    sha256: str | None = None
    said: str = ""


@dataclass(frozen=True)
class Targets:
    """What is to be removed: sources in their places, marked, and the ids of their videos.

    ids: a video's id by the uri of the source; "" where nobody knows it.
    """

    registered: Sequence[Registered]
    videos: frozenset[str]
    ids: Mapping[str, str]

    @property
    def sources(self) -> frozenset[str]:
        """Ids of the sources."""
        return frozenset(each.source.id for each in self.registered)

    @property
    def uris(self) -> frozenset[str]:
        """Uris of the sources."""
        return frozenset(each.source.uri for each in self.registered)

    @property
    def parts(self) -> list[int]:
        """Parts that the sources are in."""
        return sorted({each.part for each in self.registered})


class KnownSources:
    """All sources of a root, with the videos that were made of them under any key."""

    def __init__(self, manifest: SourceManifest, recorded: Mapping[str, str]) -> None:
        """Read the sources and the rows of `ingest`. recorded: ids of videos that were removed before, by uri."""
        self.registered = manifest.registered()
        self.ingested = _ingested(manifest.root)
        self.ids: dict[str, set[str]] = defaultdict(set)  # of the videos, by uri
        for each in self.registered:
            found = {rows.video for rows in self.ingested.get(each.source.id, ())}
            sha256 = each.source.sha256
            self.ids[each.source.uri] = (found | ({video_id(sha256)} if sha256 else set())) - {""}
        for uri, video in recorded.items():
            self.ids[uri] |= {video} - {""}
        self.names: dict[str, set[str]] = defaultdict(set)  # uris by uri and by the ids of sources and videos
        for each in self.registered:
            for name in (each.source.uri, each.source.id, *self.ids[each.source.uri]):
                self.names[name].add(each.source.uri)

    def targets(self, names: Iterable[str]) -> Targets:
        """Find what names mean, with all copies: ids of videos or sources (or their beginnings), uris, file names.

        Raises ConfigError for a name that means no video of this run, or several.
        """
        chosen = {uri for name in names for uri in self.named(name)}
        videos = self.videos_of(chosen)
        chosen |= self.copies_of(videos, chosen)
        found = [self.marked(each) for each in self.registered if each.source.uri in chosen]
        for each in found:
            if each.source.sha256:
                self.ids[each.source.uri].add(video_id(each.source.sha256))
        ids = {uri: min(self.ids[uri], default="") for uri in chosen}
        return Targets(found, frozenset(self.videos_of(chosen)), ids)

    def named(self, name: str) -> set[str]:
        """Return the uris of the sources that a name means."""
        if match := CLIP.fullmatch(name):
            raise ConfigError(
                f"remove: expected a video, got the id of a clip, {name}; do `ola remove ROOT {match[1]}` to remove "
                "its whole video"
            )
        whole = self.names.get(name) or self.names.get(storage.normal(name))
        found = whole or self._by_ending(name) or self._by_beginning(name)
        if not found:
            raise ConfigError(
                f"remove: expected the id, path or name of a registered video, got {name!r}; do `ola sql ROOT "
                "'SELECT id, uri FROM source'` to list them"
            )
        if len(contents := {frozenset(self.ids[uri]) or uri for uri in found}) > 1:
            raise ConfigError(
                f"remove: expected one video, got {name!r}, which means {len(contents)}: {', '.join(sorted(found))}; "
                "name one by its full path"
            )
        return found

    def _by_ending(self, name: str) -> set[str]:
        return {each.source.uri for each in self.registered if each.source.uri.endswith(f"/{name}")}

    def _by_beginning(self, name: str) -> set[str]:
        if len(name) < SHORTEST:
            return set()
        return {
            uri for whole, uris in self.names.items() if whole.startswith(name) and ID.fullmatch(whole) for uri in uris
        }

    def videos_of(self, uris: set[str]) -> set[str]:
        """Return the ids of the videos of some sources."""
        return {video for uri in uris for video in self.ids[uri]}

    def copies_of(self, videos: set[str], uris: set[str]) -> set[str]:
        """Return the uris of sources with the same content: by their ids, their twins, or what `ingest` says."""
        twins = {each.source.twin for each in self.registered if each.source.uri in uris}
        return {
            each.source.uri
            for each in self.registered
            if self.ids[each.source.uri] & videos
            or each.source.twin in uris
            or each.source.uri in twins
            or any(videos.intersection(ID.findall(rows.said)) for rows in self.ingested.get(each.source.id, ()))
        }

    def marked(self, each: Registered) -> Registered:
        """Mark a source as removed, with its content: what `ingest` found, or else what its file has now."""
        rows = self.ingested.get(each.source.id, ())
        found = each.source.sha256 or next((row.sha256 for row in rows if row.sha256), None)
        is_readable = not each.source.removed and each.source.fault is None
        if found is None and is_readable and (each.source.bytes or is_unmeasured(each.source)):
            found = content(UnreadSource(each.source.uri, each.source.stamp)).sha256 or None
        return replace(each, source=removed_source(each.source, found))


def _ingested(root: str) -> dict[str, list[IngestOutcome]]:
    """What `ingest` says of each source, under every key of the root; by the source's id."""
    found: dict[str, list[IngestOutcome]] = defaultdict(list)
    for manifest in step_manifests(root):
        for row in _rows(root, manifest) if manifest.name == INGEST else ():
            said = " ".join(filter(None, (row["reason"], row["detail"])))
            found[row["input"]].append(IngestOutcome(row["id"] or "", row["sha256"] or None, said))
    return found


def _rows(root: str, manifest: Manifest) -> list[dict[str, Any]]:
    with views.connect(root, [manifest], {}, []) as connection:
        if INGEST not in views.names(connection):
            return []
        rows: list[dict[str, Any]] = connection.sql(KNOWN).to_arrow_table().to_pylist()
        return rows


def read_list(uri: str) -> list[str]:
    """Read a list of names, a line each; empty lines and those that begin with # are left out. Raises ConfigError."""
    try:
        lines = storage.read_bytes(storage.normal(uri)).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--list: expected a text file with a name a line, got {uri} ({error})") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
