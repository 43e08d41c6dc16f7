"""Spans of videos in input lists: rows with `start` and `end` name the clips, and many rows may name one video."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from manifests.json_values import json_value
from manifests.records import Span

START, END = "start", "end"
LATEST = 1e9  # seconds
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")

Meta = Mapping[str, Any]  # the further columns of a row
Times = tuple[int, int]  # ms


class Unusable(ValueError):
    """A row of a list cannot be used. The message is the fault of its source."""


def times_of(facts: Meta) -> Times | None:
    """Return start and end of a row's span in ms; None unless the row has both. Raises Unusable."""
    if any(facts.get(name) in (None, "") for name in (START, END)):
        return None
    start, end = (round(_seconds(name, facts[name]) * 1000) for name in (START, END))
    if start >= end:
        raise Unusable(f"names an empty span: start {facts[START]!r}, end {facts[END]!r}")
    return start, end


def _seconds(name: str, value: Any) -> float:
    """Convert seconds, or hh:mm:ss with any fraction, to seconds."""
    clock = CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if clock:
        hours, minutes, seconds = clock.groups(default="0")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found < LATEST:
        raise Unusable(f"has no time in {name}: expected seconds or hh:mm:ss, got {value!r:.50}")
    return found


class NamedVideo:
    """The rows of a list that name one video: one row, or one for each span."""

    def __init__(self) -> None:
        """Start without rows."""
        self.rows: dict[Times | None, tuple[int, Meta]] = {}

    def add(self, number: int, meta: Meta, times: Times | None) -> None:
        """Add a row. Raises Unusable if another row names the same span."""
        if None in self.rows or (self.rows and times is None):
            raise Unusable(f"names the same video as row {next(iter(self.rows.values()))[0]}")
        if times in self.rows:
            raise Unusable(f"names the same span as row {self.rows[times][0]}")
        self.rows[times] = number, meta

    @property
    def meta(self) -> dict[str, Any]:
        """Return the columns in which all rows agree."""
        (_, first), *others = self.rows.values()
        return {key: value for key, value in first.items() if all(_agrees(meta, key, value) for _, meta in others)}

    @property
    def spans(self) -> tuple[Span, ...]:
        """Return the spans by their starts, each with the columns in which the rows differ."""
        shared = self.meta.keys()
        return tuple(
            Span(start_ms=times[0], end_ms=times[1], meta=as_json({k: v for k, v in meta.items() if k not in shared}))
            for times, (_, meta) in sorted((times, row) for times, row in self.rows.items() if times is not None)
        )


def _agrees(meta: Meta, key: str, value: Any) -> bool:
    return key in meta and as_json({key: meta[key]}) == as_json({key: value})


def as_json(facts: Mapping[str, Any]) -> str:
    """Return columns of a row as a JSON object. Raises RecursionError for deeply nested values."""
    rest = {key: json_value(value) for key, value in facts.items()}
    return json.dumps(rest, sort_keys=True, ensure_ascii=False, default=str, allow_nan=False)
