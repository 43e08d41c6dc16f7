"""Find the files that belong to a video by their names: subtitles and metadata, which are read, and others.

yt-dlp, video2dataset and media players write pictures, descriptions, chats and partial files beside a video. These are
not sources. The rules use names only, so they hold for local folders and for listings of object stores.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from manifests.ledger import digest
from manifests.storage import Entry

SUBTITLES = (".srt", ".vtt", ".ass", ".ssa")
METADATA = (".info.json", ".json")  # of yt-dlp; of video2dataset and img2dataset
# Bytes of a subtitle or metadata file: a day of speech, word by word, takes 20 MB. A larger file is not read.
LARGEST_COMPANION = 32 << 20
CAPTION = ".txt"  # of video2dataset; read for `pack.given` alone
SOUNDS = (".m4a", ".wav", ".mp3", ".flac", ".aac", ".ogg", ".opus")  # of a video that has none itself

PICTURES = "jpg jpeg jpe jfif png webp bmp tif tiff heic heif avif svg ico jxl gif psd"
OTHER_SUBTITLES = "sub idx sup lrc ttml dfxp sbv smi srv1 srv2 srv3 json3 stl scc"
TEXTS = "description txt md rst nfo log json jsonl ndjson xml yaml yml toml ini cfg csv tsv html htm url webloc desktop"
FILES = "pdf doc docx odt rtf torrent md5 sha1 sha256 sha512 sfv par2 npy npz pt pkl safetensors db py sh ipynb"
# Names that are plainly no video's. What they hold must agree, unless they lie beside a video of their name.
PLAIN = frozenset(f".{suffix}" for suffix in f"{PICTURES} {OTHER_SUBTITLES} {TEXTS} {FILES}".split()) | {*SUBTITLES}
PLAIN_NAMES = frozenset(
    ["thumbs.db", "ehthumbs.db", "desktop.ini", "icon", "readme", "license", "sha256sums", "md5sums", "makefile"]
)
# What a download leaves: `talk.mp4.part`, `talk.f137.mp4.part-Frag3`. Without its video it may be one.
UNFINISHED = re.compile(
    r"(?i)(?P<stem>.+?)(?:\.f\d[\w-]*)?(?:\.\w{2,4})?\.(?:part(?:-frag\d+)?(?:\.part)?|ytdl|temp|tmp|crdownload|aria2)"
)
EXTRA = re.compile(r"(?i)[-_. ](?:thumb(?:nail)?|poster|cover|fanart|landscape|banner|clearlogo|preview|screens?)$")


def is_sidecar(name: str) -> bool:
    """Return whether a file of this name may be the subtitles of a video."""
    return _suffix(name) in SUBTITLES


def is_read(name: str) -> bool:
    """Return whether a file of this name may be read with a video: subtitles, metadata, caption or sound."""
    return _suffix(name) in (*SUBTITLES, ".json", CAPTION, *SOUNDS)


def is_plain(name: str) -> bool:
    """Return whether a file of this name is certainly not a video."""
    return _suffix(name) in PLAIN or name.rpartition("/")[2].lower() in PLAIN_NAMES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


class Videos:
    """Files that may be videos, and their companions. uris: of all files; files that `is_plain` have no companions."""

    def __init__(self, uris: Iterable[str]) -> None:
        self.stems: dict[str, list[str]] = defaultdict(list)
        self.names = {uri for uri in uris if not is_plain(uri) and not UNFINISHED.fullmatch(uri)}
        for uri in sorted(self.names):
            self.stems[os.path.splitext(uri)[0]].append(uri)

    def subtitles(self, uris: Iterable[str]) -> dict[str, list[str]]:
        """Return URIs of the subtitles of each video that has any, sorted: `talk.en.srt` and `talk.srt` of `talk.mp4`.

        `talk.en.srt` belongs to `talk.en.mp4` if that is there, else to `talk.mp4`.
        """
        owned: dict[str, list[str]] = defaultdict(list)
        for uri in sorted(filter(is_sidecar, uris)):
            for owner in self._by_pieces(uri):
                owned[owner].append(uri)
        return owned

    def metadata(self, uris: Iterable[str], given: bool = False) -> dict[str, list[str]]:
        """Return URIs of the metadata of each video that has any: `talk.info.json`, `talk.json` and `talk.mp4.json`.

        given: also of the caption, `talk.txt`.
        """
        owned: dict[str, list[str]] = defaultdict(list)
        endings = (*METADATA, CAPTION) if given else METADATA
        for uri in sorted(uris):
            suffix = next((suffix for suffix in endings if uri.lower().endswith(suffix)), None)
            for owner in self._of_name(uri[: -len(suffix)]) if suffix else ():
                owned[owner].append(uri)
        return owned

    def sounds(self, uris: Iterable[str]) -> dict[str, str]:
        """Return the URI of the audio file of each video that has one: `talk.m4a` of `talk.mp4`."""
        owned: dict[str, str] = {}
        for uri in sorted(uris):
            if _suffix(uri) in SOUNDS:
                for owner in self.stems.get(os.path.splitext(uri)[0], ()):
                    if _suffix(owner) not in SOUNDS:
                        owned.setdefault(owner, uri)
        return owned

    def companions(self, uris: Iterable[str]) -> set[str]:
        """Return the files that belong to a video, and are therefore not sources."""
        return {uri for uri in uris if uri not in self.names and self._has_owner(uri)}

    def _has_owner(self, uri: str) -> bool:
        if unfinished := UNFINISHED.fullmatch(uri):
            return bool(self._of_name(unfinished["stem"]))
        return bool(self._by_pieces(uri) or self._of_name(EXTRA.sub("", os.path.splitext(uri)[0])))

    def _of_name(self, name: str) -> Sequence[str]:
        """Return videos of this name, with or without their extension."""
        return [name] if name in self.names else self.stems.get(name, ())

    def _by_pieces(self, uri: str) -> Sequence[str]:
        """Return the videos with the longest name that this name begins with, up to a dot."""
        return next((found for name in _shorter(uri) if (found := self._of_name(name))), ())


def _shorter(uri: str) -> Iterator[str]:
    folder, _, name = uri.rpartition("/")
    pieces = name.split(".")
    return (f"{folder}/{'.'.join(pieces[:n])}" for n in range(len(pieces) - 1, 0, -1))


def companions_digest(video: str, companions: Sequence[str], entries: Mapping[str, Entry]) -> str:
    """Return a digest of a video's companions: their suffixes, sizes and stamps; "" without companions."""
    stem = len(os.path.splitext(video)[0])
    facts = sorted((uri[stem:], entries[uri].size, entries[uri].stamp) for uri in companions)
    return digest(facts) if facts else ""
