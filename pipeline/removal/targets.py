"""Find the sources and videos that a user's names refer to, with all their exact copies."""

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

SHORTEST = 6  # least characters of an abbreviated id
ID = re.compile(r"\b[0-9a-f]{20}\b")
CLIP = re.compile(r"([0-9a-f]{20})-\d{9}-\d{9}.*")
SELECT_VIDEOS = "SELECT input, id, sha256, reason, detail FROM ingest"


@dataclass(frozen=True)
class IngestOutcome:
    """The outcome of `ingest` for a source. reason: with detail, of a source that was dropped or failed."""

    video: str = ""
    sha256: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Targets:
    """The sources to remove, marked and in their places, and the ids of their videos.

    ids: a video's id by the uri of the source; "" if unknown.
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
        """Parts that contain the sources."""
        return sorted({each.part for each in self.registered})


class KnownSources:
    """All sources of a root, with the videos that were made from them under any key."""

    def __init__(self, manifest: SourceManifest, recorded: Mapping[str, str]) -> None:
        """Read the sources and the rows of `ingest`. recorded: ids of videos that were removed before, by uri."""
        self.registered = manifest.registered()
        self.ingested = _read_ingest(manifest.root)
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
        """Find the targets of names, with all copies. A name is an id (or its beginning), a uri or a file name.

        Raises ConfigError for a name that matches no video of this run, or several.
        """
        chosen = {uri for name in names for uri in self.find_uris(name)}
        videos = self.find_videos(chosen)
        chosen |= self.find_copies(videos, chosen)
        found = [self.mark_removed(each) for each in self.registered if each.source.uri in chosen]
        for each in found:
            if each.source.sha256:
                self.ids[each.source.uri].add(video_id(each.source.sha256))
        ids = {uri: min(self.ids[uri], default="") for uri in chosen}
        return Targets(found, frozenset(self.find_videos(chosen)), ids)

    def find_uris(self, name: str) -> set[str]:
        """Return the uris of the sources that match a name. Raises ConfigError for none, or several videos."""
        if match := CLIP.fullmatch(name):
            raise ConfigError(
                f"remove: expected a video, got the id of a clip, {name}; do `ola remove ROOT {match[1]}` to remove "
                "its whole video"
            )
        whole = self.names.get(name) or self.names.get(storage.normal(name))
        found = whole or self._uris_by_ending(name) or self._uris_by_beginning(name)
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

    def _uris_by_ending(self, name: str) -> set[str]:
        return {each.source.uri for each in self.registered if each.source.uri.endswith(f"/{name}")}

    def _uris_by_beginning(self, name: str) -> set[str]:
        if len(name) < SHORTEST:
            return set()
        return {
            uri for whole, uris in self.names.items() if whole.startswith(name) and ID.fullmatch(whole) for uri in uris
        }

    def find_videos(self, uris: set[str]) -> set[str]:
        """Return the ids of the videos of some sources."""
        return {video for uri in uris for video in self.ids[uri]}

    def find_copies(self, videos: set[str], uris: set[str]) -> set[str]:
        """Return the uris of sources with the same content, by their ids, their twins, or the reasons of `ingest`."""
        twins = {each.source.twin for each in self.registered if each.source.uri in uris}
        return {
            each.source.uri
            for each in self.registered
            if self.ids[each.source.uri] & videos
            or each.source.twin in uris
            or each.source.uri in twins
            or any(videos.intersection(ID.findall(rows.reason)) for rows in self.ingested.get(each.source.id, ()))
        }

    def mark_removed(self, each: Registered) -> Registered:
        """Return the source marked as removed, with its digest: from `ingest`, or else of the file as it is now."""
        rows = self.ingested.get(each.source.id, ())
        found = each.source.sha256 or next((row.sha256 for row in rows if row.sha256), None)
        is_readable = not each.source.removed and each.source.fault is None
        if found is None and is_readable and (each.source.bytes or is_unmeasured(each.source)):
            found = content(UnreadSource(each.source.uri, each.source.stamp)).sha256 or None
        return replace(each, source=removed_source(each.source, found))


def _read_ingest(root: str) -> dict[str, list[IngestOutcome]]:
    """Return the outcomes of `ingest` by the source's id, under every key of the root."""
    found: dict[str, list[IngestOutcome]] = defaultdict(list)
    for manifest in step_manifests(root):
        for row in _read_ingest_rows(root, manifest) if manifest.name == INGEST else ():
            reason = " ".join(filter(None, (row["reason"], row["detail"])))
            found[row["input"]].append(IngestOutcome(row["id"] or "", row["sha256"] or None, reason))
    return found


def _read_ingest_rows(root: str, manifest: Manifest) -> list[dict[str, Any]]:
    with views.connect(root, [manifest], {}, []) as connection:
        if INGEST not in views.names(connection):
            return []
        rows: list[dict[str, Any]] = connection.sql(SELECT_VIDEOS).to_arrow_table().to_pylist()
        return rows


def read_names(uri: str) -> list[str]:
    """Read a list of names, a line each; skips empty lines and those that begin with #. Raises ConfigError."""
    try:
        lines = storage.read_bytes(storage.normal(uri)).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--list: expected a text file with a name a line, got {uri} ({error})") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
