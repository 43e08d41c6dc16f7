"""Load media in the forms in which lmms-eval's tasks give them.

A task gives PIL images, arrays, decoded sounds (`{"array": …, "sampling_rate": …}`, or an object with
`get_all_samples` as `datasets` makes it), paths, `data:` URLs of pictures, and objects with `type` and `url`, a video
with its start and end. A string without a type is a picture or a sound by its suffix, else a video, as in the harness.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ola.prompt import Picture, Wave
from pipeline.errors import BadMedia, ConfigError
from pipeline.media.user_media import load_image, load_sound, load_video

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tiff", ".webp")
SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")
PLACES = ("url", "path", "image", "video", "audio")  # fields of an object that name its file or hold its content
STARTS, ENDS = ("video_start", "start_time"), ("video_end", "end_time")
REMOTE = ("http://", "https://", "s3://", "gs://")


@dataclass(frozen=True, eq=False)
class TaskMedium:
    """A loaded medium. kind: `track` is the sound of a video. value: a Picture, the frames of a video, or a Wave."""

    kind: Literal["image", "video", "sound", "track"]
    value: Any


def load_media(given: Any, frames: int, kind: str = "") -> Iterator[TaskMedium]:
    """Yield the media of what a task gives, also of lists. kind: what the task says that it is, or empty.

    frames: limit of a video. Raises ConfigError for a form that is not known, BadMedia or OSError for a bad file.
    """
    if given is None:
        return
    if isinstance(given, Image.Image):
        yield TaskMedium("image", given)
    elif isinstance(given, np.ndarray):
        yield from _load_array(given)
    elif isinstance(given, Mapping):
        yield from _load_object(given, frames, kind)
    elif isinstance(given, list | tuple) and kind == "video":
        yield TaskMedium("video", _thin([each.value for part in given for each in load_media(part, 1)], frames))
    elif isinstance(given, list | tuple):
        for part in given:
            yield from load_media(part, frames, kind)
    elif hasattr(given, "get_all_samples"):
        decoded = given.get_all_samples()
        yield TaskMedium("sound", _wave(decoded.data, decoded.sample_rate))
    elif isinstance(given, str | Path):
        yield from _load_file(str(given), frames, kind, (0.0, None))
    else:
        raise ConfigError(f"expected an image, a sound, a path or an object of these, got {type(given).__name__}")


def _load_array(given: np.ndarray) -> Iterator[TaskMedium]:
    if given.ndim not in (3, 4) or given.dtype != np.uint8 or given.shape[-1] != 3:
        raise ConfigError(f"expected uint8 (height, width, 3) or (frames, …), got {given.dtype} {given.shape}")
    yield TaskMedium("image", given) if given.ndim == 3 else TaskMedium("video", list(given))


def _load_object(given: Mapping[str, Any], frames: int, kind: str) -> Iterator[TaskMedium]:
    if given.get("array") is not None:
        yield TaskMedium("sound", _wave(given["array"], given["sampling_rate"]))
        return
    if given.get("bytes"):
        yield TaskMedium("image", _decode_picture(given["bytes"]))
        return
    place = next((given[name] for name in PLACES if given.get(name) is not None), None)
    if place is None:
        raise ConfigError(f"expected an object with {', '.join(PLACES)} or array, got one with {', '.join(given)}")
    kind = str(given.get("type") or kind)
    if isinstance(place, str | Path):
        start, end = (next((given[name] for name in names if given.get(name) is not None), None)
                      for names in (STARTS, ENDS))  # fmt: skip
        yield from _load_file(str(place), frames, kind, (float(start or 0), None if end is None else float(end)))
    else:
        yield from load_media(place, frames, kind)


def _load_file(place: str, frames: int, kind: str, span: tuple[float, float | None]) -> Iterator[TaskMedium]:
    if place.startswith(REMOTE):
        raise ConfigError(f"expected a file on this machine, got {place}; download it first")
    if place.startswith("data:"):
        yield TaskMedium("image", _decode_picture(base64.b64decode(place.partition(",")[2])))
        return
    path = place.removeprefix("file://")
    suffix = Path(path).suffix.lower()
    if kind == "image" or (not kind and suffix in PICTURES):
        yield TaskMedium("image", load_image(path))
    elif kind == "audio" or suffix in SOUNDS:  # the harness calls a sound `video` where only its path is known
        yield TaskMedium("sound", load_sound(path))
    else:
        pictures, sound = load_video(path, frames, span)
        yield TaskMedium("video", pictures)
        if sound is not None:
            yield TaskMedium("track", sound)


def _decode_picture(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadMedia(f"not a picture: {error}") from error


def _wave(samples: Any, rate: Any) -> Wave:
    return Wave(np.asarray(samples, np.float32), int(rate))


def _thin(pictures: Sequence[Picture], most: int) -> list[Picture]:
    """Return at most so many pictures, evenly spread."""
    if len(pictures) <= most:
        return list(pictures)
    return [pictures[int((n + 0.5) * len(pictures) / most)] for n in range(most)]
