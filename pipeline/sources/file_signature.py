"""Describe a file that is no video by its first bytes, for the reason in its row.

Folders of videos contain web pages that a downloader saved as `.mp4`, files truncated before their index, playlists and
thumbnails. `describe_file(path)` returns a few words about such a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

HEAD = 4096  # bytes looked at
ATOMS = 10_000  # of an mp4 at most: a broken one can hold endless tiny ones

# The first that matches counts. Playlists and descriptions name other files and addresses, which are never opened.
SIGNS: tuple[tuple[str, str], ...] = (
    (r"\x00+\Z", "only zeros: a download that never finished?"),
    (r"\s*#EXTM3U", "a playlist (HLS): name the video itself"),
    (r"\s*ffconcat version", "a playlist (ffconcat): name the video itself"),
    (r"(?s).{0,1000}<MPD\b", "a playlist (DASH): name the video itself"),
    (r"v=0\r?\no=", "a network description (SDP)"),
    (r"\s*\[(Reference|playlist)\]", "a playlist: name the video itself"),
    (r"(?is)\s*(<!doctype html|<html|<\?xml.{0,500}<html)", "a web page: the download went wrong"),
    (r"(?s)\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM....\x00{4}|II\*\x00|MM\x00\*", "a picture"),
    (r"(?s)....ftyp(heic|mif1|avif)", "a picture"),
    (r"%PDF", "a PDF"),
    (r"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh", "an archive: unpack it"),
    (r"(?s)(\xef\xbb\xbf)?\s*(WEBVTT|.{0,200}\d:\d\d[.,]\d+ *-->)", "subtitles that lie beside no video of their name"),
)


def describe_file(path: str) -> str:
    """Describe a file by its first bytes. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        kinds = set(atoms(path))
        if not kinds & {"moov", "moof"} and "mdat" in kinds:
            return "an mp4 without its index (moov): cut off, or never finished"
    return describe_bytes(head)


def describe_bytes(head: bytes) -> str:
    """Describe a file that begins with these bytes."""
    text = head.decode("latin-1")
    found = next((kind for pattern, kind in SIGNS if re.match(pattern, text)), None)
    return found or ("text" if is_text(head) else "no container of video that is known here")


def atoms(path: str) -> Iterator[str]:
    """Yield the types of the top-level boxes of an ISO base media file (ISO/IEC 14496-12), up to the first damage."""
    with open(path, "rb") as file:
        for _ in range(ATOMS):
            head = file.read(16)
            if len(head) < 8:
                return
            size = int.from_bytes(head[:4], "big")
            size = int.from_bytes(head[8:16], "big") if size == 1 else size
            yield head[4:8].decode("latin-1")
            if size < 8:
                return
            file.seek(size - len(head), 1)


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are UTF-8 text without control characters."""
    try:
        head[: -3 if len(head) == HEAD else None].decode("utf-8")  # the last sign may be cut in two
    except UnicodeDecodeError:
        return False
    return not any(byte < 9 or 13 < byte < 32 for byte in head)
