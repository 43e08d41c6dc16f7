"""From pictures to the pixels that the vision tower takes.

In: PIL images of any mode, or uint8 RGB arrays. Out: the two views of an image, or the frames of a video, as uint8
(height, width, 3) at the sizes of `ola.geometry`. Resizing is PIL's bicubic, as in the original.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ola.geometry import PAD_GREY, Fit, Limits, Size, image_low_size, image_size, pad_offset, video_size
from ola.prompt import Picture

# PIL turns these into RGB as one expects; it clips integers of 32 bits and floats, whose range it cannot know.
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
UPRIGHT = 1  # of EXIF's orientations


def rgb(picture: Picture) -> Image.Image:
    """The picture upright in 8-bit RGB; transparency is dropped, not blended, as in the original.

    ValueError for an array that is not uint8 (height, width, 3) and for modes whose range of values is unknown.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(_checked(picture))
    picture.load()  # some formats say which way is up after their pixels
    upright = picture.getexif().get(ExifTags.Base.Orientation, UPRIGHT) == UPRIGHT
    image = picture if upright else ImageOps.exif_transpose(picture)  # which copies, also what is upright
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode not in MODES:
        raise ValueError(f"a picture of mode {image.mode}, whose range is unknown; convert it to 8-bit RGB first")
    if "transparency" in image.info:  # PIL warns unless it goes by way of RGBA
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def fit(picture: Picture, how: Fit) -> np.ndarray:
    """The upright RGB picture at the size of `how`: resized, or centred on grey; uint8 (height, width, 3).

    A picture that has its size already is not copied: the array may be the caller's own, or read-only.
    """
    size = _size(picture)
    if size == how.size:
        return np.asarray(picture)
    if how.how == "resize":
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        return np.array(image.resize(how.size))
    left, top = pad_offset(size, how.size)
    canvas = np.full((how.size[1], how.size[0], 3), PAD_GREY, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(picture)
    return canvas


def image_views(picture: Picture, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """The low and the high view of an image, uint8 (height, width, 3); the low one is made from the high one."""
    image = rgb(picture)
    high = np.array(fit(image, image_size(*image.size, limits)))
    low = Fit(image_low_size(_size(high), limits), "resize")
    return np.array(fit(high, low)), high


def video_views(frames: Sequence[Picture], indices: Sequence[int], limits: Limits) -> np.ndarray:
    """The frames at `indices`, uint8 (T, height, width, 3). ValueError unless they are of one size, naming the frame.

    An array that has its size already is copied once and goes no other way.
    """
    first = _upright(frames[indices[0]])
    size = _size(first)
    how = video_size(*size, limits)
    views = np.empty((len(indices), how.size[1], how.size[0], 3), np.uint8)
    for view, index in zip(views, indices, strict=True):
        frame = first if index == indices[0] else _upright(frames[index])
        if _size(frame) != size:
            width, height = _size(frame)
            raise ValueError(
                f"frame {index} of the video is {width}x{height}, frame {indices[0]} {size[0]}x{size[1]}; "
                "scale them to one size first"
            )
        view[...] = fit(frame, how)
    return views


def _checked(picture: np.ndarray) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"a picture of {picture.dtype} with shape {picture.shape}; give uint8 (height, width, 3), RGB in 0..255"
        )
    return picture


def _upright(picture: Picture) -> Picture:
    return _checked(picture) if isinstance(picture, np.ndarray) else rgb(picture)


def _size(picture: Picture) -> Size:
    return (picture.shape[1], picture.shape[0]) if isinstance(picture, np.ndarray) else picture.size
