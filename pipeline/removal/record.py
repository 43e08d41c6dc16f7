"""Record removals: who removed which videos when, with which note, and which removal is not finished.

`<root>/removed.jsonl` is written anew each time, by the process that holds the root. `<root>/removing.json` names the
sources of a removal from its beginning to its end: while it exists, no run begins.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from manifests import storage
from pipeline.errors import RunError
from pipeline.removal.targets import Targets

RECORD, OPEN = "removed.jsonl", "removing.json"


def read_record(root: str) -> list[dict[str, Any]]:
    """Read the record: a dict a command, the oldest first."""
    uri = storage.join(root, RECORD)
    lines = storage.read_bytes(uri).splitlines() if storage.exists(uri) else []
    return [json.loads(line) for line in lines if line.strip()]


def removed_videos(root: str) -> dict[str, str]:
    """Return the ids of removed videos by the uris of their sources; "" for an unknown id."""
    return {each["uri"]: each["video"] for line in read_record(root) for each in line["videos"]}


def record_removal(root: str, targets: Targets, request: Mapping[str, Any]) -> None:
    """Add a line to the record with the sources that it does not name yet, if there are any.

    request: what is kept of the user's request, with the names that the user gave as `asked`.
    """
    known = removed_videos(root)
    new = [{"uri": uri, "video": targets.ids[uri]} for uri in sorted(targets.uris) if uri not in known]
    if new:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "user": user_name()}
        lines = [*read_record(root), {**line, **request, "videos": new}]
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines)
        storage.write_bytes(storage.join(root, RECORD), text.encode())


def user_name() -> str:
    """Return the name of the user who runs this process; the user's number where there is no name."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return str(os.getuid())


def begin_removal(root: str, targets: Targets) -> None:
    """Write that the removal of these sources has begun, beside unfinished ones."""
    names = sorted({*unfinished_sources(root), *targets.uris})
    storage.write_bytes(storage.join(root, OPEN), json.dumps(names, ensure_ascii=False).encode())


def unfinished_sources(root: str) -> list[str]:
    """Return the uris of sources whose removal has begun and not ended."""
    uri = storage.join(root, OPEN)
    return [str(name) for name in json.loads(storage.read_bytes(uri))] if storage.exists(uri) else []


def end_removal(root: str) -> None:
    """Write that no removal is under way."""
    storage.remove(storage.join(root, OPEN))


def check_finished(root: str) -> None:
    """Raise RunError where a removal was cut off: a run would pack videos that are to be removed."""
    if names := unfinished_sources(root):
        raise RunError(f"--root {root}: a removal of {len(names)} sources was cut off; do `ola remove {root}` first")
