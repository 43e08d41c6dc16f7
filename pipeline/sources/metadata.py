"""Read metadata beside a video (yt-dlp's `.info.json`, video2dataset's and img2dataset's `.json`) for its `meta`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from manifests import storage
from manifests.json_values import json_value
from manifests.records import Source
from manifests.retries import StoreUnreachable
from pipeline.sources.companions import CAPTION, LARGEST_COMPANION
from pipeline.sources.given import kept_fields

LONGEST = 2000  # characters of a further text of a data set's file: captions, and no transcripts
INFO = ".info.json"
# field of `meta` -> names that it has in the files, the first that is there
FIELDS: Mapping[str, Sequence[str]] = {
    "title": ("title", "fulltitle"),
    "description": ("description",),
    "tags": ("tags",),
    "categories": ("categories",),
    "licence": ("licence", "license"),
    "uploader": ("uploader", "channel", "author"),
    "upload_date": ("upload_date",),
    "language": ("language",),
    "chapters": ("chapters",),
}
STATE = ("key", "status", "error_message", "exif")  # columns of a data set's file that tell of the download


def meta_of(source: Source) -> str:
    """Return a source's metadata as JSON: those of its files, overridden by the columns of its input list.

    With `given`, captions and questions of any length are read. Files that are gone, damaged or too large are ignored.
    Raises StoreUnreachable if a store does not answer.
    """
    facts: dict[str, Any] = {}
    for uri in sorted(source.metadata, key=_rank):
        facts |= _caption(uri) if uri.lower().endswith(CAPTION) else _facts(uri, source.given)
    if not facts:
        return source.meta
    text = json.dumps(facts | json.loads(source.meta), sort_keys=True, ensure_ascii=False, default=str, allow_nan=False)
    return text.encode(errors="replace").decode()


def _rank(uri: str) -> tuple[bool, bool]:
    """Return the priority of a metadata file, as in tars: `.json` over `.info.json` over `.txt`."""
    return uri.lower().endswith(CAPTION), uri.lower().endswith(INFO)


def _read(uri: str) -> bytes | None:
    """Read a file; None if it is gone, too large or unreadable."""
    try:
        return storage.read_up_to(uri, LARGEST_COMPANION)
    except StoreUnreachable:
        raise
    except OSError:
        return None


def _caption(uri: str) -> dict[str, Any]:
    data = _read(uri)
    text = "" if data is None else data.decode("utf-8-sig", errors="replace").strip()
    return {"caption": text} if text else {}


def _facts(uri: str, given: bool) -> dict[str, Any]:
    try:
        values = json_value(json.loads(_read(uri) or b""))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    if uri.lower().endswith(INFO):
        return known_fields(values)
    nested = values.get("yt_meta_dict")
    info = nested.get("info") if isinstance(nested, dict) else None
    kept = {name: values[name] for name in kept_fields() & values.keys()} if given else {}
    return _columns(values) | kept | (known_fields(info) if isinstance(info, dict) else {}) | known_fields(values)


def known_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known fields of a metadata file, by their names in `meta`."""
    fields = (
        (field, next((values[name] for name in names if values.get(name)), None)) for field, names in FIELDS.items()
    )
    return {field: value for field, value in fields if value is not None}


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return other columns of a data set's metadata file, such as `caption` and `url`."""
    renamed = {name for names in FIELDS.values() for name in names}
    return {
        name: value
        for name, value in values.items()
        if name not in renamed
        and name not in STATE
        and isinstance(value, str | int | float)
        and len(str(value)) <= LONGEST
    }
