"""Metadata beside a video (yt-dlp's `.info.json`, video2dataset's and img2dataset's `.json`) becomes its `meta`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from manifests import storage
from manifests.json_values import json_value
from manifests.records import Source
from manifests.retries import StoreAway
from pipeline.sources.companions import LARGEST_COMPANION

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
    """The metadata of a source as JSON: of its files, and over it the columns of its input list.

    Files that are gone, damaged or too large tell nothing. Raises StoreAway where a store does not answer.
    """
    facts: dict[str, Any] = {}
    for uri in sorted(source.metadata, key=lambda uri: uri.lower().endswith(INFO)):
        facts |= _facts(uri)
    if not facts:
        return source.meta
    text = json.dumps(facts | json.loads(source.meta), sort_keys=True, ensure_ascii=False, default=str, allow_nan=False)
    return text.encode(errors="replace").decode()


def _facts(uri: str) -> dict[str, Any]:
    try:
        data = storage.read_up_to(uri, LARGEST_COMPANION)
        told = json_value(json.loads(data)) if data is not None else {}
    except StoreAway:
        raise
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    if uri.lower().endswith(INFO):
        return known_fields(told)
    nested = told.get("yt_meta_dict")
    info = nested.get("info") if isinstance(nested, dict) else None
    return _columns(told) | (known_fields(info) if isinstance(info, dict) else {}) | known_fields(told)


def known_fields(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a file tells of its video, by the names of `meta`."""
    found = ((field, next((told[name] for name in names if told.get(name)), None)) for field, names in FIELDS.items())
    return {field: value for field, value in found if value is not None}


def _columns(told: Mapping[str, Any]) -> dict[str, Any]:
    """Further columns of a data set's file, as `caption` and `url`."""
    renamed = {name for names in FIELDS.values() for name in names}
    return {
        name: value
        for name, value in told.items()
        if name not in renamed
        and name not in STATE
        and isinstance(value, str | int | float)
        and len(str(value)) <= LONGEST
    }
