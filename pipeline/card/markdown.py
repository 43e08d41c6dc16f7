"""Write Markdown tables. Texts of videos, models and settings become plain text, without markup, links and HTML.

text("<b> | [x](y)")  ->  &lt;b&gt; \\| \\[x\\](y)
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 160  # characters of a text in a cell
_MARKUP = re.compile(r"([\\`*_{}\[\]#!|~@:$]|(?<=www)\.)", re.IGNORECASE)
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, directions, surrogates, private use, line separators
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S+")


class Code(str):
    """Text that is Markdown already."""

    __slots__ = ()


def clean(text: object, longest: int = LONGEST) -> str:
    """Return a text on one line, without control characters and marks of direction, cut to `longest` characters."""
    shown = (" " if unicodedata.category(c) in _HIDDEN else c for c in str(text)[: 4 * longest])
    line = " ".join("".join(shown).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def without_uris(text: str) -> str:
    """Return a text with `s3://…` in the place of each URI: one may hold credentials."""
    return _URI.sub(r"\1…", text)


def text(value: object, longest: int = LONGEST) -> Code:
    """Return a value as Markdown that renders as this text."""
    if isinstance(value, Code):
        return value
    return Code(_MARKUP.sub(r"\\\1", html.escape(clean(value, longest), quote=False)))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; integers and floats are aligned to the right and grouped by thousands."""
    listed = [list(row) for row in rows]
    numeric = [
        bool(listed) and all(isinstance(row[n], (int, float)) or row[n] is None for row in listed)
        for n in range(len(heads))
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "".join("---:|" if right else "---|" for right in numeric)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in listed]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else text(value)


def share(part: float, whole: float) -> Code:
    """Return a share in percent."""
    return Code(f"{part / whole:.1%}" if whole else "")
