"""Read the dialogue of Advanced SubStation Alpha (.ass, .ssa): times and lines of text, with their override tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

SECTION = re.compile(r"(?mi)^\s*\[(?:script info|events)\]")
STAMP = re.compile(r"\s*(\d+):(\d{1,2}):(\d{1,2})(?:[.:,](\d{1,3}))?\s*")
FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
COMMENT = re.compile(r"\{[^}\\]*\}")
BREAK = re.compile(r"\\[Nn]")


def is_ass(text: str) -> bool:
    """Return whether a text is in this format, whatever the name of its file is."""
    return SECTION.search(text) is not None and "Dialogue:" in text


def read_blocks(text: str) -> Iterator[tuple[float, float, list[str]]]:
    """Yield start and end in seconds and the lines of each dialogue, without repetitions and damaged lines.

    A speaker's name becomes the voice tag of WebVTT at the beginning: `<v John>`.
    """
    fields: Sequence[str] = FIELDS
    shown = set[tuple[float, float, str]]()
    for line in text.splitlines():
        kind, _, rest = line.partition(":")
        if kind.strip().lower() == "format" and "text" in rest.lower():
            fields = tuple(name.strip().lower() for name in rest.split(","))
        elif kind.strip().lower() == "dialogue":
            block = _parse_block(fields, rest.split(",", len(fields) - 1))
            if block is not None and block not in shown:  # a second layer repeats a text as its outline
                shown.add(block)
                yield block[0], block[1], BREAK.split(block[2])


def _parse_block(fields: Sequence[str], values: Sequence[str]) -> tuple[float, float, str] | None:
    facts = dict(zip(fields, values, strict=False))
    start, end = (STAMP.fullmatch(facts.get(name, "")) for name in ("start", "end"))
    if start is None or end is None or "text" not in facts:
        return None
    name = re.sub(r"[<>]", "", facts.get("name", facts.get("actor", ""))).strip()
    text = COMMENT.sub("", facts["text"]).replace(r"\h", " ")
    return _seconds(start), _seconds(end), f"<v {name}>{text}" if name else text


def _seconds(stamp: re.Match[str]) -> float:
    hours, minutes, seconds, fraction = stamp.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
