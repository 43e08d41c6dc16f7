"""Detect files in a folder that are certainly no video, by name and content. They are counted, and are no sources."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from manifests import storage
from manifests.retries import StoreUnreachable
from manifests.storage import Entry
from pipeline.sources.companions import OTHER_SUBTITLES, PICTURES, SUBTITLES, TEXTS, is_plain
from pipeline.sources.file_signature import HEAD, is_text

FILE = "not-media.json"  # below the root: how many there are, by kind
QUESTIONS = 32  # to a store at once: each waits some 50 ms
# How containers of video and sound begin; whatever else a file of a plain name holds is no video.
CONTAINER = re.compile(
    rb"....(?:ftyp|moov|mdat|moof|free|skip|wide|pnot|styp|sidx|uuid)|\x1aE\xdf\xa3|RIFF....(?:AVI |WAVE)|RF64|FLV|OggS"
    rb"|0&\xb2u\x8ef\xcf\x11|\.RMF|\x06\x0e\+4|DKIF|\x00\x00(?:\x00)?\x01[\x09\x67\xb0\xb3\xba\x40\x42\x46\x27]|nut/"
    rb"|(?:G.{187}){3}|.{4}(?:G.{191}){3}|\xb7\xd8\x00|NSV[fs]|ID3|fLaC|\xff[\xe2-\xff]|FORM....AIF|caff|#!AMR",
    re.DOTALL,
)

Counts = Mapping[str, int]


def find_not_media(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the kind of each file that is certainly no video, by URI.

    Raises StoreUnreachable if a store does not answer. Files that cannot be read for other reasons are left out.
    """
    plain = [entry for entry in entries if not entry.fault and is_plain(entry.path)]
    with ThreadPoolExecutor(QUESTIONS) as pool:
        agrees = list(pool.map(_holds_no_video, plain))
    return {entry.path: _kind(entry.path) for entry, agreed in zip(plain, agrees, strict=True) if agreed}


def _holds_no_video(entry: Entry) -> bool:
    if not entry.size:
        return True
    try:
        with storage.open_random(entry.path) as file:
            head = bytes(file.read_at(min(HEAD, entry.size), 0))
    except StoreUnreachable:
        raise
    except (OSError, ValueError):
        return False
    return is_text(head) or CONTAINER.match(head) is None


def _kind(uri: str) -> str:
    suffix = uri.rpartition(".")[2].lower()
    if suffix in OTHER_SUBTITLES.split() or f".{suffix}" in SUBTITLES:
        return "subtitles beside no video of their name"
    if suffix in PICTURES.split():
        return "picture"
    return "text or metadata" if suffix in TEXTS.split() else "other"


def write(root: str, counts: Counts) -> None:
    """Store the counts below a root, if they have changed."""
    if dict(counts) != read(root):
        storage.write_bytes(storage.join(root, FILE), json.dumps(dict(sorted(counts.items()))).encode())


def read(root: str) -> dict[str, int]:
    """Return the counts of the last discovery, by kind."""
    try:
        found: dict[str, int] = json.loads(storage.read_bytes(storage.join(root, FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def summary(counts: Counts) -> str:
    """Return a line with the counts; "" without any."""
    if not counts:
        return ""
    kinds = Counter(dict(counts)).most_common()
    return f"not media: {sum(counts.values())} ({', '.join(f'{many} x {kind}' for kind, many in kinds)})"
