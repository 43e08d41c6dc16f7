"""Parse the value with which a record names a medium: a path, a URI, a patch, a member of a tar, or the bytes.

In: the value of a field in JSON or Parquet. Out: one `Reference`; no medium is read. Raises BadMedia for other values.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pipeline.errors import BadMedia
from pipeline.pack.export import SWAPPED

# `image_encoing` is a spelling error of the released files
PATCH_KEYS = frozenset({"patch", "start_num", "size", "image_encoding", "image_encoing", "img_path"})
CELL_KEYS = frozenset({"bytes", "path"})  # a medium in a column of a data set of the Hugging Face Hub
LOCAL, INCOMPLETE = "file://", "{} is an incomplete patch: expected patch, start_num and size"


@dataclass(frozen=True)
class Reference:
    """A medium: a file or member of a tar (`a.tar#b.jpg`), byte ranges of a file (a patch), or bytes in the record.

    sizes: of adjacent byte ranges that begin at `start`. swapped: red and blue are swapped. data: bytes in the record;
    `path` is then only a name. frames: a video given as a list of images; `path` is then the path of the first.
    """

    path: str
    start: int = 0
    sizes: tuple[int, ...] = ()
    base64: bool = False
    swapped: bool = False
    data: bytes | None = field(default=None, repr=False)
    frames: tuple[Reference, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}@{self.start}+{sum(self.sizes)}" if self.sizes else self.path

    @property
    def identity(self) -> str:
        """A text that identifies the medium, made without reading its file."""
        if self.frames:
            return " ".join(frame.identity for frame in self.frames)
        if self.data is not None:
            return hashlib.sha256(self.data).hexdigest()
        return f"{self.path}@{self.start}"


def parse_reference(key: str, value: Any) -> Reference:
    """Parse the value of the field `key` (image, video, audio or audio_q). Raises BadMedia if it names no medium."""
    if isinstance(value, list):
        if key == "video" and len(value) > 1:
            frames = tuple(parse_reference("image", frame) for frame in value)
            return Reference(frames[0].path, frames=frames)
        if len(value) != 1:
            raise BadMedia(f"several media as {key}: a sample holds only one", f"{len(value)} of them")
        return parse_reference(key, value[0])
    if isinstance(value, dict):
        return _parse_object(key, {name: content for name, content in value.items() if content is not None})
    if isinstance(value, bytes):
        return Reference("", data=value)
    if isinstance(value, str):
        return _parse_text(key, value)
    raise BadMedia(f"{key} is neither a path nor a patch", type(value).__name__)


def _parse_object(key: str, value: dict[str, Any]) -> Reference:
    if "url" in value:
        return parse_reference(key, value["url"])
    if "data" in value:
        return _parse_data_uri(key, f"data:;base64,{value['data']}")
    if CELL_KEYS.issuperset(value):
        return _parse_cell(key, value)
    return _parse_patch(key, value)


def _parse_text(key: str, name: str) -> Reference:
    if name.startswith("data:"):
        return _parse_data_uri(key, name)
    return Reference(unquote(name.removeprefix(LOCAL)) if name.startswith(LOCAL) else name)


def _parse_data_uri(key: str, uri: str) -> Reference:
    """Decode a `data:` URI. Raises BadMedia if it is not base64."""
    head, comma, text = uri.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise BadMedia(f"{key} is a data: URI without base64", head[:200])
        return Reference("", data=base64.b64decode("".join(text.split()), validate=True))
    except ValueError as error:
        raise BadMedia(f"{key} is a data: URI with invalid base64", str(error)) from error


def _parse_cell(key: str, cell: dict[str, Any]) -> Reference:
    path, data = cell.get("path", ""), cell.get("bytes")
    if not isinstance(path, str) or not isinstance(data, bytes | None) or not (path or data):
        raise BadMedia(f"{key} has neither bytes nor a path", repr(cell)[:200])
    return _parse_text(key, path) if data is None else Reference(path, data=data)


def _parse_patch(key: str, value: dict[str, Any]) -> Reference:
    if unknown := sorted(set(value) - PATCH_KEYS):
        raise BadMedia(f"unknown keys in {key}", ", ".join(map(str, unknown))[:200])
    if "img_path" in value:
        return parse_reference(key, str(value["img_path"]))
    encoding = value.get("image_encoding", value.get("image_encoing"))
    if encoding not in (None, "", "base64"):
        raise BadMedia(f"{key} has an unknown image_encoding", repr(encoding)[:200])
    try:
        size = value["size"]
        sizes = tuple(int(part) for part in (size if isinstance(size, list) else [size]))
        found = Reference(str(value["patch"]), int(value["start_num"]), sizes, encoding == "base64")
    except (KeyError, TypeError, ValueError) as error:
        raise BadMedia(INCOMPLETE.format(key), repr(error)[:200]) from error
    return _check_patch(key, found)


def _check_patch(key: str, patch: Reference) -> Reference:
    if patch.start < 0 or not patch.sizes or min(patch.sizes) < 1:
        raise BadMedia(INCOMPLETE.format(key), str(patch))
    if key != "video" and len(patch.sizes) > 1:
        raise BadMedia(f"several media as {key}: a sample holds only one", f"{len(patch.sizes)} of them")
    # the frames of these sources are stored with red and blue swapped, and the original trainer swaps them back
    swapped = key == "video" and not patch.base64 and any(word in patch.path for word in SWAPPED)
    return Reference(patch.path, patch.start, patch.sizes, patch.base64, swapped)
