"""Normalize text from files: Unicode NFC, without control characters, escape sequences and invisible characters.

Joiners, variation selectors and tags stay where a script needs them: inside emoji, and between letters of Persian,
Hindi, Mongolian and others.
"""

from __future__ import annotations

import re
import unicodedata

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[@-Z\\^_])?")  # ECMA-48
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff\ud800-\udfff\ufdd0-\ufdef]")
BLANKS = re.compile(r"[\u115f\u1160\u3164\uffa0\u2800]")  # Hangul fillers and the empty Braille cell: seen as a space
# Format characters (Cf) and other default-ignorable ones (Unicode, DerivedCoreProperties) that carry no writing.
INVISIBLE = re.compile(
    r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\u17b4\u17b5"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001]"
)
NEEDED = re.compile(r"[\u034f\u180b-\u180f\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef]")

# Scripts whose letters change their form at a joiner: Arabic and its kin, the Indic scripts, Khmer, Mongolian.
JOINED = re.compile(
    r"[\u0600-\u0dff\u0f00-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefe"
    r"\U00010a00-\U00010aff\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
EMOJI = re.compile(
    r"[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff"
    r"\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
KEYS = "#*0123456789"
FLAG, TONES = "\U0001f3f4", ("\U0001f3fb", "\U0001f3ff")
IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\u1800-\u18af\u1000-\u109f\uaa60-\uaa7f\U00020000-\U0003ffff]")


def clean_text(text: str) -> str:
    """Return the text in NFC without invisible characters; spaces and line ends stay."""
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", _remove_marks(BLANKS.sub(" ", remove_controls(text))))


def remove_controls(text: str) -> str:
    """Remove escape sequences, control characters and bytes that could not be decoded; line ends stay."""
    return CONTROLS.sub("", ESCAPES.sub("", text))


def _remove_marks(text: str) -> str:
    text = INVISIBLE.sub("", text)
    if not NEEDED.search(text):
        return text
    kept: list[str] = []
    for n, mark in enumerate(text):
        if not NEEDED.match(mark) or _is_needed(mark, kept, text[n + 1 : n + 2]):
            kept.append(mark)
    return "".join(kept)


def _is_needed(mark: str, before: list[str], after: str) -> bool:
    """Return whether a mark changes how its neighbours are written. before: the characters kept so far."""
    last = before[-1] if before else ""
    if mark == "\u200d":  # zero-width joiner
        joins = _ends_emoji(before) and EMOJI.match(after) is not None
        return joins or JOINED.match(last) is not None or (JOINED.match(after) is not None and not last.strip())
    if mark == "\u200c":  # zero-width non-joiner
        return JOINED.match(last) is not None and JOINED.match(after) is not None
    if mark == "\u034f":  # combining grapheme joiner
        return all(each and unicodedata.combining(each) for each in (last, after))
    if "\ufe0e" <= mark <= "\ufe0f":
        return EMOJI.match(last) is not None or (last != "" and last in KEYS) or IDEOGRAPH.match(last) is not None
    if "\U000e0020" <= mark <= "\U000e007f":  # tags: the flags of Scotland and its like
        return last == FLAG or "\U000e0020" <= last <= "\U000e007e"
    return IDEOGRAPH.match(last) is not None or unicodedata.category(last or " ") == "Sm"


def _ends_emoji(before: list[str]) -> bool:
    at = len(before) - 1
    while at >= 0 and (before[at] in "\ufe0e\ufe0f" or TONES[0] <= before[at] <= TONES[1]):
        at -= 1
    return at >= 0 and EMOJI.match(before[at]) is not None
