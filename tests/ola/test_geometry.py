"""Sizes and token counts against tables recorded from the original Ola preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ola.geometry import (
    Fit,
    Limits,
    Size,
    frame_indices,
    image_low_size,
    image_size,
    image_tokens,
    pad_offset,
    parts_kept,
    sound_tokens,
    video_size,
    video_tokens,
)

# (picture, high view, low view, how)
IMAGES: list[tuple[Size, Size, Size, str]] = [
    ((100, 75), (128, 96), (416, 320), "pad"),
    ((40, 200), (64, 224), (192, 704), "pad"),
    ((32, 32), (32, 32), (384, 384), "pad"),
    ((20, 20), (32, 32), (384, 384), "pad"),
    ((1, 1), (32, 32), (384, 384), "pad"),
    ((640, 480), (640, 480), (416, 320), "pad"),
    ((1920, 1080), (1920, 1088), (480, 288), "pad"),
    ((1536, 1536), (1536, 1536), (384, 384), "pad"),
    ((1537, 1536), (1536, 1504), (384, 352), "resize"),
    ((4000, 300), (4000, 320), (1344, 96), "pad"),
    ((300, 4000), (320, 4000), (96, 1344), "pad"),
    ((2000, 1300), (1888, 1216), (448, 288), "resize"),
    ((33, 64), (64, 64), (384, 384), "pad"),
    ((31, 3000), (32, 3008), (32, 3712), "pad"),
    ((8000, 16), (8000, 32), (6048, 32), "pad"),
    ((224, 224), (224, 224), (384, 384), "pad"),
    ((512, 512), (512, 512), (384, 384), "pad"),
    ((1280, 720), (1280, 736), (480, 288), "pad"),
    ((720, 1280), (736, 1280), (288, 480), "pad"),
    ((383, 385), (384, 416), (352, 384), "pad"),
    ((10, 2000), (32, 2016), (32, 3040), "pad"),
]

# (frame, fitted, how), at the training limits. The original fails on the last one, where we say 32.
FRAMES: list[tuple[Size, Size, str]] = [
    ((100, 75), (320, 224), "resize"),
    ((40, 200), (128, 640), "resize"),
    ((32, 32), (288, 288), "resize"),
    ((20, 20), (288, 288), "resize"),
    ((1, 1), (288, 288), "resize"),
    ((640, 480), (512, 384), "resize"),
    ((1920, 1080), (576, 320), "resize"),
    ((1536, 1536), (448, 448), "resize"),
    ((1537, 1536), (448, 416), "resize"),
    ((4000, 300), (1632, 96), "resize"),
    ((300, 4000), (96, 1632), "resize"),
    ((2000, 1300), (544, 352), "resize"),
    ((33, 64), (192, 384), "resize"),
    ((31, 3000), (32, 3008), "pad"),
    ((8000, 16), (8000, 32), "pad"),
    ((224, 224), (288, 288), "resize"),
    ((512, 512), (448, 448), "resize"),
    ((1280, 720), (576, 320), "resize"),
    ((720, 1280), (320, 576), "resize"),
    ((383, 385), (384, 416), "pad"),
    ((10, 2000), (32, 4064), "resize"),
]

# The same at the limits of the original's inference script, where they differ most.
INFERENCE = Limits(cell=64, video_max=480)
INFERENCE_FRAMES: list[tuple[Size, Size, str]] = [
    ((100, 75), (320, 192), "resize"),
    ((224, 224), (256, 256), "resize"),
    ((1920, 1080), (640, 320), "resize"),
    ((1537, 1536), (448, 448), "resize"),
    ((31, 3000), (64, 3008), "pad"),
    ((383, 385), (384, 448), "pad"),
    ((10, 2000), (64, 4032), "resize"),
]

sides = st.integers(1, 5000)


@pytest.mark.parametrize(("picture", "high", "low", "how"), IMAGES)
def test_image_sizes_are_the_originals(picture: Size, high: Size, low: Size, how: str) -> None:
    assert image_size(*picture) == Fit(high, how)  # type: ignore[arg-type]
    assert image_low_size(high) == low


@pytest.mark.parametrize(("frame", "fitted", "how"), FRAMES)
def test_video_sizes_are_the_originals(frame: Size, fitted: Size, how: str) -> None:
    assert video_size(*frame) == Fit(fitted, how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("frame", "fitted", "how"), INFERENCE_FRAMES)
def test_video_sizes_at_other_limits(frame: Size, fitted: Size, how: str) -> None:
    assert video_size(*frame, INFERENCE) == Fit(fitted, how)  # type: ignore[arg-type]


def test_limits_of_a_tiny_model() -> None:
    tiny = Limits(cell=16, image_high=64, image_low=32, video_max=48, video_min=32)
    assert image_size(100, 50, tiny) == Fit((80, 32), "resize")
    assert image_low_size((80, 32), tiny) == (48, 16)
    assert video_size(47, 17, tiny) == Fit((48, 16), "resize")


@pytest.mark.parametrize("source", [(1920, 1080), (1280, 720), (640, 480), (320, 240), (720, 1280), (854, 480)])
def test_a_stored_frame_is_not_scaled_again(source: Size) -> None:
    fitted = video_size(*source).size
    assert video_size(*fitted).size == fitted


@given(sides, sides)
def test_every_fit_has_sides_in_multiples_of_32(width: int, height: int) -> None:
    for fit in (image_size(width, height), video_size(width, height)):
        assert all(side >= 32 and side % 32 == 0 for side in (*fit.size, *image_low_size(fit.size)))
        if fit.how == "pad":
            assert all(0 <= side - was < 32 for side, was in zip(fit.size, (width, height), strict=True))


def test_padding_centres_and_rounds_down() -> None:
    assert pad_offset((100, 75), (128, 96)) == (14, 10)


@pytest.mark.parametrize(
    ("frames", "keep", "indices"),
    [(1, 1, [0]), (9, 1, [0]), (5, 4, [0, 1, 2, 4]), (4, 4, [0, 1, 2, 3]), (2, 4, [0, 0, 0, 1])],
)
def test_frames_are_spread_evenly(frames: int, keep: int, indices: list[int]) -> None:
    assert frame_indices(frames, keep) == indices


@given(st.integers(1, 3000), st.integers(1, 80))
def test_frames_are_taken_as_numpy_spreads_them(frames: int, keep: int) -> None:
    assert frame_indices(frames, keep) == np.linspace(0, frames - 1, keep).astype(int).tolist()


def test_media_that_fit_keep_all() -> None:
    assert parts_kept([64, 2, 1], [13_506, 304, 2511], 16_321) == [64, 2, 1]
    assert parts_kept([], [], 0) == []


def test_frames_and_chunks_keep_the_same_share() -> None:
    assert parts_kept([64, 24], [2 + 64 * 211, 2 + 24 * 151], 9_000) == [34, 12]
    assert parts_kept([64, 1], [13_506, 500], 2_000) == [7, 1], "what has one part stays whole"


def test_nothing_is_thinned_to_none() -> None:
    assert parts_kept([64, 2], [2 + 64 * 211, 304], 100) == [1, 1]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 300)), max_size=4), st.integers(0, 30_000))
def test_thinned_media_fit_or_are_down_to_one_part(media: list[tuple[int, int]], room: int) -> None:
    parts = [count for count, _ in media]
    kept = parts_kept(parts, [2 + count * each for count, each in media], room)
    needed = sum(2 + k * each for k, (_, each) in zip(kept, media, strict=True))
    assert needed <= room or kept == [1] * len(media)
    assert all(1 <= k <= count for k, count in zip(kept, parts, strict=True))


def test_image_tokens() -> None:
    assert image_tokens(1536, 1536) == 2 + 12 * 13 + 1 + 48 * 49 == 2511
    assert image_tokens(96, 64) == 2 + 9 * 15 + 1 + 2 * 4
    assert image_tokens(128, 96, low=(96, 64)) == 26
    assert image_tokens(64, 48, low=(32, 16), cell=16) == 2 + 3 + 1 + 3 * 5


def test_video_tokens() -> None:
    assert video_tokens(448, 448, 64) == 13_506
    assert video_tokens(576, 320, 48) == 2 + 48 * (10 * 19 + 1)


@pytest.mark.parametrize(
    ("seconds", "chunks"), [(0.1, 1), (30, 1), (480_001 / 16_000, 2), (60.0, 2), (750, 25), (751, 26)]
)
def test_sound_tokens_count_started_chunks(seconds: float, chunks: int) -> None:
    assert sound_tokens(seconds) == 2 + 151 * chunks


def test_sound_tokens_of_other_chunks() -> None:
    assert sound_tokens(5, chunk_s=2, chunk_tokens=11) == 2 + 3 * 11


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="0x5"):
        image_size(0, 5)
    with pytest.raises(ValueError, match="100x64"):
        image_tokens(100, 64)
    with pytest.raises(ValueError, match="0 frames"):
        video_tokens(64, 64, 0)
    with pytest.raises(ValueError, match="3 of 0 frames"):
        frame_indices(0, 3)
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="sound: expected more than 0 s"):
            sound_tokens(seconds)
