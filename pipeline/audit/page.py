"""Write a sample as a page that works from disk: one HTML file, and the frames and sounds beside it.

All text of questions is data: it is embedded as JSON without `<`, and the script puts it into the page as text only.
The content security policy allows the page's own script and style, by their digests, and pictures and sounds beside it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from manifests.records import Media
from pipeline.audit.sample import Sample
from pipeline.media.media_store import MediaReader
from stages.shards import split_frames

PAGE = "index.html"


def write_page(root: str, folder: Path, sample: Sample, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the page and its media into a folder. rows: of the questions, in the order of the page."""
    read = MediaReader(root)
    places = {clip: f"media/{n:04d}" for n, clip in enumerate(dict.fromkeys(row["clip"] for row in rows))}
    media = {row["clip"]: _write_media(read, folder, places[row["clip"]], row) for row in rows}
    questions = [
        {
            "question": row["id"],
            "text": row["question"],
            "options": list(row["options"] or ()),
            "answer": row["answer"],
            **media[row["clip"]],
        }
        for row in rows
    ]
    (folder / PAGE).write_text(format_page({"audit": sample.name, "questions": questions}), encoding="utf-8")


def _write_media(read: MediaReader, folder: Path, place: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Write the frames and the sound of a clip. Returns their paths from the page, and the times of the frames."""
    (folder / place).mkdir(parents=True, exist_ok=True)
    frames = []
    for n, jpeg in enumerate(split_frames(read(Media(**row["frames"])), row["frame_bytes"])):
        frames.append(f"{place}/{n:03d}.jpg")
        (folder / frames[-1]).write_bytes(jpeg)
    sound = "" if row["sound"] is None else f"{place}/sound.wav"
    if sound:
        (folder / sound).write_bytes(read(Media(**row["sound"])))
    return {"frames": frames, "ms": list(row["frame_ms"]), "sound": sound}


def format_page(content: Mapping[str, Any]) -> str:
    """Return the page with its content, script and style."""
    parts = {name: _resource(name) for name in ("audit.js", "audit.css")}
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " ")
    policy = (
        f"default-src 'none'; script-src {_source(parts['audit.js'])}; style-src {_source(parts['audit.css'])}; "
        "img-src 'self' file:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
    return (
        _resource("audit.html")
        .replace("{policy}", html.escape(policy))
        .replace("{style}", parts["audit.css"])
        .replace("{script}", parts["audit.js"])
        .replace("{data}", data)  # last: what it contains is not replaced
    )


def _resource(name: str) -> str:
    return files("pipeline.audit").joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
