"""Format values for tables: numbers with five digits, shortened ids, text on one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from manifests.json_values import json_value

DIGITS = 5  # significant digits of a number
SMALLEST, LARGEST = 1e-4, 1e15  # numbers outside this range have an exponent
ID = re.compile(r"([0-9a-f]{20}|[0-9a-f]{64})(-.*)?", re.DOTALL)
ID_DIGITS = 8  # least digits of a shortened id


def number_text(value: float) -> str:
    """Return a number with five digits; more, if the integer part is longer, and one decimal."""
    if not math.isfinite(value):
        return str(value)
    if value and not SMALLEST <= abs(value) < LARGEST:
        return f"{value:.{DIGITS - 1}e}"
    before = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    text = f"{value:.{max(1, DIGITS - before)}f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def clock(ms: int) -> str:
    """Return milliseconds as hh:mm:ss.mmm."""
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def duration(seconds: float) -> str:
    """Return a duration as text in seconds, minutes or hours."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def value_text(value: Any) -> str:
    """Return a value of a query result as text: null is empty, lists and structs are JSON."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return number_text(value)
        case Decimal():
            return str(value) if value == value.to_integral_value() else number_text(float(value))
        case list() | tuple() | dict():
            return json.dumps(_round_numbers(json_value(value)), ensure_ascii=False, default=str)
    return str(json_value(value))


def _round_numbers(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case list():
            return [_round_numbers(each) for each in value]
        case dict():
            return {key: _round_numbers(each) for key, each in value.items()}
    return value


def one_line(text: str) -> str:
    """Return the text on one line, without terminal control characters."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(text.split()))


def with_short_ids(columns: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Shorten the ids in columns that hold only ids, all to one length at which they stay unique."""
    ids = [_match_ids(column) for column in columns]
    digits = _unique_digits({match[1] for matches in ids for match in matches})
    return [
        [_shorten_id(value, digits) for value in column] if matches else column
        for column, matches in zip(columns, ids, strict=True)
    ]


def _shorten_id(value: str | None, digits: int) -> str | None:
    match = ID.fullmatch(value or "")
    return f"{match[1][:digits]}…{match[2] or ''}" if match and digits < len(match[1]) else value


def _match_ids(column: Iterable[Any]) -> list[re.Match[str]]:
    """Return the matches of a column's ids; [] if a value is no id."""
    values = [value for value in column if value is not None]
    found = [ID.fullmatch(value) for value in values if isinstance(value, str)]
    matches = [match for match in found if match]
    return matches if len(matches) == len(values) else []


def _unique_digits(heads: set[str]) -> int:
    """Return the number of digits that keep all ids unique."""
    by_length = [{head for head in heads if len(head) == length} for length in {len(head) for head in heads}]
    digits = ID_DIGITS
    while any(len({head[:digits] for head in some}) < len(some) for some in by_length):
        digits += 1
    return digits
