"""Subtitles that lie beside a video and belong to it by their name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from manifests.ledger import digest
from manifests.storage import Entry

SUFFIXES = (".srt", ".vtt")


def is_sidecar(name: str) -> bool:
    """Whether a file of this name may be the subtitles of another one."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def owners(videos: Iterable[str], subtitles: Iterable[str]) -> dict[str, list[str]]:
    """URIs of the subtitles of each video that has any, sorted."""
    stems: dict[str, list[str]] = defaultdict(list)
    for uri in videos:
        stems[os.path.splitext(uri)[0]].append(uri)
    owned: dict[str, list[str]] = defaultdict(list)
    for uri in sorted(subtitles):
        for owner in stems.get(_owner_stem(uri, stems), ()):
            owned[owner].append(uri)
    return owned


def _owner_stem(uri: str, stems: Mapping[str, Sequence[str]]) -> str:
    """`talk.en.srt` belongs to `talk.en.mp4` if that is there, else to `talk.mp4`."""
    folder, _, name = uri.rpartition("/")
    pieces = name.split(".")
    names = (f"{folder}/{'.'.join(pieces[:n])}" for n in range(len(pieces) - 1, 0, -1))
    return next((stem for stem in names if stem in stems), "")


def companions_digest(video: str, sidecars: Sequence[str], entries: Mapping[str, Entry]) -> str:
    """Names a video's sidecars by what follows its stem, their sizes and stamps; "" where there are none."""
    stem = len(os.path.splitext(video)[0])
    facts = sorted((uri[stem:], entries[uri].size, entries[uri].stamp) for uri in sidecars)
    return digest(facts) if facts else ""
