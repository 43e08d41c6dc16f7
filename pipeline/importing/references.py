"""How records name a medium: a path, an address, a patch, a member of a tar, or the bytes themselves.

In: the value of a field, as JSON or Parquet has it. Out: one `Reference`; no medium is read. BadMedia where it is none.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pipeline.errors import BadMedia
from pipeline.pack.export import SWAPPED

# `image_encoing` is how released files have it
PATCH = frozenset({"patch", "start_num", "size", "image_encoding", "image_encoing", "img_path"})
CELL = frozenset({"bytes", "path"})  # how data sets of the Hub hold a medium in a column
LOCAL = "file://"


@dataclass(frozen=True)
class Reference:
    """A medium: a file (or a member of a tar, `a.tar#b.jpg`), `sizes` bytes each from `start` of one, or its `data`.

    swapped: its red and blue are. data: the bytes themselves, where the record carries them; `path` is then a name.
    frames: of a video that is given as a list of pictures; `path` is then that of the first.
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
        """Names the medium, as far as that can be told without reading it."""
        if self.frames:
            return " ".join(frame.identity for frame in self.frames)
        if self.data is not None:
            return hashlib.sha256(self.data).hexdigest()
        return f"{self.path}@{self.start}"


def reference(key: str, value: Any) -> Reference:
    """The medium that a field `key` (image, video, audio or audio_q) names. BadMedia with the reason if it is none."""
    if isinstance(value, list):
        if key == "video" and len(value) > 1:
            frames = tuple(reference("image", frame) for frame in value)
            return Reference(frames[0].path, frames=frames)
        if len(value) != 1:
            raise BadMedia(f"several media as {key}: a sample holds one", f"{len(value)} of them")
        return reference(key, value[0])
    if isinstance(value, dict):
        return _described(key, {name: content for name, content in value.items() if content is not None})
    if isinstance(value, bytes):
        return Reference("", data=value)
    if isinstance(value, str):
        return _named(key, value)
    raise BadMedia(f"{key} is neither a path nor a patch", type(value).__name__)


def _described(key: str, value: dict[str, Any]) -> Reference:
    if "url" in value:
        return reference(key, value["url"])
    if "data" in value:
        return _data(key, f"data:;base64,{value['data']}")
    if CELL.issuperset(value):
        return _cell(key, value)
    return _patch(key, value)


def _named(key: str, name: str) -> Reference:
    if name.startswith("data:"):
        return _data(key, name)
    return Reference(unquote(name.removeprefix(LOCAL)) if name.startswith(LOCAL) else name)


def _data(key: str, uri: str) -> Reference:
    """The bytes of a `data:` URI."""
    head, comma, text = uri.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise BadMedia(f"{key} is a data: URI without base64", head[:200])
        return Reference("", data=base64.b64decode("".join(text.split()), validate=True))
    except ValueError as error:
        raise BadMedia(f"{key} is a data: URI whose base64 is broken", str(error)) from error


def _cell(key: str, cell: dict[str, Any]) -> Reference:
    path, data = cell.get("path", ""), cell.get("bytes")
    if not isinstance(path, str) or not isinstance(data, bytes | None) or not (path or data):
        raise BadMedia(f"{key} has neither bytes nor a path", repr(cell)[:200])
    return _named(key, path) if data is None else Reference(path, data=data)


def _patch(key: str, value: dict[str, Any]) -> Reference:
    if unknown := sorted(set(value) - PATCH):
        raise BadMedia(f"unknown keys in {key}", ", ".join(map(str, unknown))[:200])
    if "img_path" in value:
        return reference(key, str(value["img_path"]))
    encoding = value.get("image_encoding", value.get("image_encoing"))
    if encoding not in (None, "", "base64"):
        raise BadMedia(f"{key} has an unknown image_encoding", repr(encoding)[:200])
    try:
        size = value["size"]
        sizes = tuple(int(one) for one in (size if isinstance(size, list) else [size]))
        found = Reference(str(value["patch"]), int(value["start_num"]), sizes, encoding == "base64")
    except (KeyError, TypeError, ValueError) as error:
        raise BadMedia(f"{key} is no whole patch: patch, start_num and size", repr(error)[:200]) from error
    return _checked(key, found)


def _checked(key: str, patch: Reference) -> Reference:
    if patch.start < 0 or not patch.sizes or min(patch.sizes) < 1:
        raise BadMedia(f"{key} is no whole patch: patch, start_num and size", str(patch))
    if key != "video" and len(patch.sizes) > 1:
        raise BadMedia(f"several media as {key}: a sample holds one", f"{len(patch.sizes)} of them")
    # the frames of these sources were stored so, and the original trainer swaps them back
    swapped = key == "video" and not patch.base64 and any(word in patch.path for word in SWAPPED)
    return Reference(patch.path, patch.start, patch.sizes, patch.base64, swapped)
