"""Decode text files of unknown encoding. A stray byte is dropped; the rest of the file is kept."""

from __future__ import annotations

MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
WESTERN = ("cp1250", "cp1257", "cp1254", "mac_latin2", "mac_iceland")  # wrong guesses for short Western texts
STRAY = frozenset(b"\x81\x8d\x8f\x90\x9d\xfe\xff")  # hardly ever letters: damage in an ASCII file
HEAD = 2000  # bytes, enough to detect UTF-16 without its mark
GOOD = 4  # valid characters for each damaged one, from which on a text is damaged UTF-8


def decode_text(data: bytes) -> str:
    """Decode by byte order mark, as UTF-8, or by likelihood. Bytes that do not fit are left out."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="ignore")
    if wide := _utf16_without_mark(data[:HEAD]):
        return data.decode(wide, errors="ignore")
    data = data.replace(b"\0", b"")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="ignore") if _is_damaged_utf8(data) else _decode_by_likelihood(data)


def _utf16_without_mark(head: bytes) -> str | None:
    """Detect UTF-16 without a byte order mark: ASCII characters have zeros on one side only."""
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


def _decode_by_likelihood(data: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(data)
    best = matches.best()
    if best is None or (best.encoding in WESTERN and any(match.encoding == "cp1252" for match in matches)):
        return data.decode("cp1252", errors="ignore")
    return str(best)
