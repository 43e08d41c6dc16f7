"""The lines of `ola why`: what became of a record at each step, and the columns that tell what it is."""

from __future__ import annotations

from typing import Any

SHOWN = {
    "ingest": ("id", "duration", "codec", "width", "height", "rotation", "frames", "sound"),
    "split": ("id", "start_ms", "end_ms", "motion", "frozen", "black", "silence", "loudness"),
    "extract": ("width", "height", "frames", "sound"),
    "transcribe": ("origin", "track", "language", "text"),
    "screen": ("complete", "informative"),
    "caption": ("view", "text"),
    "ask": ("id", "kind", "question", "answer", "options"),
    "verify": ("both", "video", "audio", "text"),
    "pack": ("id", "stage", "split", "shard", "key", "offset", "tokens"),
}


def life_line(step: str, row: dict[str, Any]) -> str:
    """One row of a life: the step, what became of the record, and why or what it is."""
    if step == "source":
        return f"source      {row['id']}  {row['uri']!r}, {row['bytes']} bytes"
    head = f"{step:<11} {row['input']}  {row['status']}"
    if row["status"] != "ok":
        detail = f"\n{_indented(row['detail'])}" if row["detail"] else ""
        return f"{head}: {row['reason']}{detail}"
    asked = row.get("asked")
    told = "".join(f"\n{_indented(f'{key}: {asked[key]}')}" for key in ("prompt", "answer")) if asked else ""
    shown = {key: value for key, value in row.items() if key in SHOWN.get(step, ()) and value is not None}
    return f"{head}  " + ", ".join(f"{key}={value!r}" for key, value in shown.items()) + told


def _indented(text: str) -> str:
    return "\n".join(f"            {line}" for line in text.splitlines())
