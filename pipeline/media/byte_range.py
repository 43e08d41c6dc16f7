"""Byte ranges of a local file that libav and ffmpeg read in place, as a file of their own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from pipeline.media.timestamps import Join

LOOK_BACK = 1 << 18  # bytes before a recording's first packet that are searched for its head
HEADS = {"mpeg": b"\x00\x00\x01\xba", "matroska,webm": b"\x1aE\xdf\xa3"}  # first bytes of a recording
PACKET_SIZES = (188, 192, 204)  # of MPEG-TS: plain, with times (m2ts), with error correction
SYNC, PES = 0x47, b"\x00\x00\x01"


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` to `end` of the file at `path`."""

    path: str
    start: int
    end: int


Local = str | ByteRange  # a local file, or a range of its bytes


def path_of(local: Local) -> str:
    """Return the path of a local file, or of the file that contains a byte range."""
    return local if isinstance(local, str) else local.path


def find_recordings(path: str, size: int, container: str, joins: list[Join]) -> list[ByteRange] | None:
    """Return the byte ranges of a file's recordings, or None if the beginning of a recording cannot be found.

    size: of the file in bytes; container: libav's name of its format; joins: of the file, in order.
    """
    bounds = [(0, 0)]
    with open(path, "rb") as file:
        for join in joins:
            file.seek(max(0, join.start - LOOK_BACK))
            before = file.read(join.start - file.tell())
            after = file.read(4096)
            head = _head_size(container, before, after)
            start = join.start - (head or 0)
            if head is None or start <= max(bounds[-1][1], join.last):
                return None
            bounds.append((min(join.end, start), start))
    spans = [ByteRange(path, start, end) for (_, start), (end, _) in pairwise([*bounds, (size, size)])]
    return spans if all(span.start < span.end for span in spans) else None


def _head_size(container: str, before: bytes, after: bytes) -> int | None:
    """Return how many bytes a recording has before its first packet; None if unknown."""
    if container == "mpegts":
        return _tables_size(before, after)
    mark = HEADS.get(container)
    at = -1 if mark is None else (before + after[:4]).rfind(mark)
    return None if at < 0 else len(before) - at


def _tables_size(before: bytes, after: bytes) -> int:
    """Return the size of the tables (packets without media) directly before the first packet of a recording."""
    size, shift = _packet_size(after)
    if size is None:  # damaged; streams repeat their tables
        return 0
    data = before + after
    first = len(before) + shift
    numbers = range(first % size, len(data) - size + 1, size)
    media = {_pid(data, at) for at in numbers if _starts_media(data, at)}
    at = first
    while at - size >= 0 and data[at - size] == SYNC and _pid(data, at - size) not in media:
        at -= size
    return first - at


def _packet_size(data: bytes) -> tuple[int | None, int]:
    """Return the size of a transport packet (None if unknown), and the offset of the first one."""
    for size in PACKET_SIZES:
        for shift in range(5):
            if all(data[at] == SYNC for at in range(shift, min(len(data), 5 * size), size)):
                return size, shift
    return None, 0


def _pid(data: bytes, at: int) -> int:
    return (data[at + 1] & 0x1F) << 8 | data[at + 2]


def _starts_media(data: bytes, at: int) -> bool:
    if data[at] != SYNC or not data[at + 1] & 0x40:
        return False
    payload = at + 4 + (data[at + 4] + 1 if data[at + 3] & 0x20 else 0)
    return data[payload : payload + 3] == PES
