"""Pictures of every mode and shape become the pixels that the vision tower expects."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ola.geometry import RELEASED, Fit
from ola.pictures import fit, image_views, rgb, video_views

RED = (200, 30, 10)


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def reopened(image: Image.Image, **options: Any) -> Image.Image:
    """As a file is opened: nothing decoded yet."""
    file = io.BytesIO()
    image.save(file, **options)
    return Image.open(file)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_colour_survives_its_mode(mode: str) -> None:
    made = rgb(picture(mode))
    assert made.mode == "RGB"
    np.testing.assert_allclose(np.asarray(made)[0, 0], RED, atol=4)


@pytest.mark.parametrize(("mode", "white"), [("1", 1), ("L", 255), ("LA", (255, 9)), ("I;16", 65_535), ("P", 255)])
def test_white_stays_white(mode: str, white: int) -> None:
    image = Image.new(mode, (3, 2), white)
    if mode == "P":
        image.putpalette([255] * 768)
    assert np.asarray(rgb(image)).min() == 255


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 256, 32_768, 65_535]], np.uint16)
    assert np.asarray(rgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_palette_with_transparency_keeps_its_colours() -> None:
    image = reopened(picture("P"), format="PNG", transparency=bytes([0] * 256))
    np.testing.assert_allclose(np.asarray(rgb(image))[0, 0], RED, atol=30)


def test_transparency_is_dropped_not_blended() -> None:
    assert np.asarray(rgb(Image.new("RGBA", (2, 2), (*RED, 0))))[0, 0].tolist() == list(RED)


def test_exif_turns_the_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    lying = Image.fromarray(np.repeat(np.array([[[255] * 3], [[0] * 3]], np.uint8), 8, axis=1))
    upright = rgb(reopened(lying, format="PNG", exif=exif))
    assert upright.size == (2, 8)
    assert np.asarray(upright)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_a_mode_without_range_is_named(mode: str) -> None:
    with pytest.raises(ValueError, match=f"mode {mode}"):
        rgb(Image.new(mode, (4, 4)))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 4, 3), "float32"), ((4, 4), "uint8"), ((3, 4, 4), "uint8"), ((0, 4, 3), "uint8")]
)
def test_an_array_of_another_shape_is_named(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(ValueError, match=f"{dtype} with shape {re.escape(str(shape))}"):
        rgb(np.zeros(shape, dtype))


def test_padding_is_grey_around_the_picture() -> None:
    padded = fit(Image.fromarray(noise(5, 3)), Fit((8, 6), "pad"))
    np.testing.assert_array_equal(padded[1:4, 1:6], noise(5, 3))
    padded[1:4, 1:6] = 127
    assert (padded == 127).all()


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [((1, 1), (384, 384), (32, 32)), ((20_000, 10), (32, 9600), (32, 20_000)), ((10, 2000), (3040, 32), (2016, 32))],
)
def test_images_of_any_shape(size: tuple[int, int], low: tuple[int, int], high: tuple[int, int]) -> None:
    views = image_views(picture(size=size), RELEASED)
    assert [view.shape for view in views] == [(*low, 3), (*high, 3)]
    assert all(view.flags.writeable for view in views)


def test_the_low_view_is_made_from_the_high_view() -> None:
    low, high = image_views(noise(100, 75), RELEASED)
    np.testing.assert_array_equal(low, np.asarray(Image.fromarray(high).resize((416, 320))))
    assert high.shape == (96, 128, 3)


def test_frames_at_their_size_are_the_same_pixels() -> None:
    frames = [noise(320, 288), 255 - noise(320, 288)]
    views = video_views(frames, [0, 1], RELEASED)
    np.testing.assert_array_equal(views, np.stack(frames))


def test_arrays_and_pictures_make_the_same_frames() -> None:
    frames = [noise(640, 480), 255 - noise(640, 480), noise(640, 480)]
    views = video_views(frames, [0, 2], RELEASED)
    assert views.shape == (2, 384, 512, 3)
    np.testing.assert_array_equal(views, video_views([Image.fromarray(frame) for frame in frames], [0, 2], RELEASED))


def test_a_frame_of_another_size_is_named() -> None:
    with pytest.raises(ValueError, match="frame 1 of the video is 20x20, frame 0 40x20"):
        video_views([picture(), picture(size=(20, 20))], [0, 1], RELEASED)
