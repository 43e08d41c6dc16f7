"""Decode text files of unknown encoding. A stray byte costs itself, not the file."""

from __future__ import annotations

MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
WESTERN = ("cp1250", "cp1257", "cp1254", "mac_latin2", "mac_iceland")  # what short Western texts are taken for
STRAY = frozenset(b"\x81\x8d\x8f\x90\x9d\xfe\xff")  # no letters, or next to never: damage in a file that else is ASCII
HEAD = 2000  # bytes that tell UTF-16 without its mark
GOOD = 4  # characters of UTF-8 for each damaged one, from which on a text is UTF-8 that was damaged


def decode_text(data: bytes) -> str:
    """The text of a file, by its mark, as UTF-8, or by its likelihood. Bytes that fit nothing are left out."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="ignore")
    if wide := _wide(data[:HEAD]):
        return data.decode(wide, errors="ignore")
    data = data.replace(b"\0", b"")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="ignore") if _is_damaged_utf8(data) else _likeliest(data)


def _wide(head: bytes) -> str | None:
    """UTF-16 without its mark: digits, arrows and line ends have a zero on one side, and none on the other."""
    pairs = len(head) // 2
    high, low = head[0::2].count(0), head[1::2].count(0)
    if low > pairs / 5 and high <= pairs / 20:
        return "utf-16-le"
    return "utf-16-be" if high > pairs / 5 and low <= pairs / 20 else None


def _is_damaged_utf8(data: bytes) -> bool:
    beyond = [byte for byte in data if byte > 127]
    if STRAY.issuperset(beyond):
        return True
    text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    return sum(sign > "\x7f" for sign in text) - damaged >= GOOD * damaged


def _likeliest(data: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(data)
    best = matches.best()
    if best is None or (best.encoding in WESTERN and any(match.encoding == "cp1252" for match in matches)):
        return data.decode("cp1252", errors="ignore")
    return str(best)
