"""Convert pictures to the pixels that the vision tower takes.

In: PIL images of any mode, or uint8 RGB arrays. Out: the two views of an image, or the frames of a video, as uint8
(height, width, 3) at the sizes of `ola.geometry`. Resizing is PIL's bicubic, as in the original.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ola.geometry import PAD_GREY, Fit, Limits, Size, image_low_size, image_size, pad_offset, video_size
from ola.prompt import Picture

# PIL converts these to RGB correctly. It clips 32-bit integers and floats, whose range it does not know.
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
UPRIGHT = 1  # EXIF orientation of an upright picture


def rgb(picture: Picture) -> Image.Image:
    """Convert a picture to upright 8-bit RGB; transparency is dropped, not blended, as in the original.

    Raises ValueError for an array that is not uint8 (height, width, 3), and for modes of unknown range.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(_check_pixels(picture))
    picture.load()  # some formats store the orientation after the pixels
    upright = picture.getexif().get(ExifTags.Base.Orientation, UPRIGHT) == UPRIGHT
    image = picture if upright else ImageOps.exif_transpose(picture)  # it always copies
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode not in MODES:
        raise ValueError(f"picture: expected 8-bit values, got mode {image.mode}; convert it to RGB first")
    if "transparency" in image.info:  # without this step PIL warns
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def fit(picture: Picture, how: Fit) -> np.ndarray:
    """Return the picture as upright RGB at the size of `how`: resized, or centred on grey; uint8 (height, width, 3).

    A picture that already has this size is not copied: the result may be the caller's array, or read-only.
    """
    size = _picture_size(picture)
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
    """Return the low and the high view of an image, uint8 (height, width, 3); the low one is made from the high one."""
    image = rgb(picture)
    high = np.array(fit(image, image_size(*image.size, limits)))
    low = Fit(image_low_size(_picture_size(high), limits), "resize")
    return np.array(fit(high, low)), high


def video_views(frames: Sequence[Picture], indices: Sequence[int], limits: Limits) -> np.ndarray:
    """Return the frames at `indices`, uint8 (T, height, width, 3). Raises ValueError unless all have one size.

    An array that already has the target size is copied once, without PIL.
    """
    first = _rotate_upright(frames[indices[0]])
    size = _picture_size(first)
    how = video_size(*size, limits)
    views = np.empty((len(indices), how.size[1], how.size[0], 3), np.uint8)
    for view, index in zip(views, indices, strict=True):
        frame = first if index == indices[0] else _rotate_upright(frames[index])
        if _picture_size(frame) != size:
            width, height = _picture_size(frame)
            raise ValueError(
                f"frame {index} of the video is {width}x{height}, frame {indices[0]} {size[0]}x{size[1]}; "
                "scale them to one size first"
            )
        view[...] = fit(frame, how)
    return views


def _check_pixels(picture: np.ndarray) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"a picture of {picture.dtype} with shape {picture.shape}; give uint8 (height, width, 3), RGB in 0..255"
        )
    return picture


def _rotate_upright(picture: Picture) -> Picture:
    return _check_pixels(picture) if isinstance(picture, np.ndarray) else rgb(picture)


def _picture_size(picture: Picture) -> Size:
    return (picture.shape[1], picture.shape[0]) if isinstance(picture, np.ndarray) else picture.size
