"""Channels that cancel each other in the mix, and channels that do not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.downmix import downmix, weights_of
from pipeline.media.extraction import extract_clips
from pipeline.media.render import FrameRenderer
from tests.media import AAC, LOUD, X264, made, onset, video_of

CASES = Path(os.environ.get("OLA_TEST_CASES") or Path(__file__).resolve().parents[2].parent / "shared" / "cases")
TONE = "0.5*sin(2*PI*440*t)*between(t,1,1.2)"
OTHER = "0.3*sin(2*PI*700*t)*between(t,1,1.2)"


def heard(path: Path, seconds: int = 2) -> ExtractedClip:
    video = video_of(path)
    renderer = FrameRenderer(video.width, video.height, video.rotation, 80)
    [clip] = extract_clips(str(path), video, [ClipRequest(0, 1000 * seconds, (0.5,))], renderer)
    return clip


def channels(name: str, *tones: str, layout: str = "stereo") -> Path:
    """A film of 2 s with one tone a channel."""
    source = f"aevalsrc='{'|'.join(tones)}':c={layout}:s=48000"
    film = ("-f", "lavfi", "-i", "color=gray:s=64x48:r=5", "-f", "lavfi", "-i", source)
    return made(name, *film, "-t", "2", *X264, *AAC)


def pcm(clip: ExtractedClip) -> NDArray[np.int16]:
    assert clip.pcm is not None
    return np.frombuffer(clip.pcm, "<i2")


def test_of_channels_that_cancel_the_stronger_is_heard() -> None:
    clip = heard(channels("weaker.mp4", f"-0.9*{TONE}", TONE))
    assert clip.channel == 1
    assert clip.cancelled is not None
    assert clip.cancelled > 0.98
    assert onset(pcm(clip)) == pytest.approx(1.0, abs=0.05)
    assert np.abs(pcm(clip)).max() == pytest.approx(0.5 * 32768, rel=0.1)


@pytest.mark.parametrize(
    ("tones", "layout", "least", "most"),
    [
        ((TONE, TONE), "stereo", 0.0, 0.0),
        ((TONE, OTHER), "stereo", 0.0, 0.1),
        (("0", TONE), "stereo", 0.0, 0.05),
        (("0", "0", TONE, "0", "0", "0"), "5.1", 0.0, 0.05),
        (("0", "0"), "stereo", 0.0, 0.0),
        ((f"{TONE}+0.7*{OTHER}", f"-0.2*{TONE}+{OTHER}"), "stereo", 0.0, 0.5),
    ],
)
def test_other_channels_are_mixed(tones: tuple[str, ...], layout: str, least: float, most: float) -> None:
    clip = heard(channels("mixed.mp4", *tones, layout=layout))
    assert clip.channel is None
    assert clip.cancelled is not None
    assert least <= clip.cancelled <= most
    assert (np.abs(pcm(clip)).max() > LOUD) == any(tone != "0" for tone in tones)


def test_surround_sound_that_cancels_is_noticed() -> None:
    clip = heard(channels("surround.mp4", TONE, f"-1*{TONE}", "0", "0", "0", "0", layout="5.1"))
    assert clip.channel in (0, 1)
    assert np.abs(pcm(clip)).max() > 8 * LOUD


def test_a_single_channel_has_no_score() -> None:
    clip = heard(channels("single.mp4", TONE, layout="mono"))
    assert (clip.channel, clip.cancelled) == (None, None)


def test_the_noise_of_a_codec_does_not_cancel() -> None:
    noise = np.random.default_rng(0).integers(-5, 6, 16000).astype("<i2")
    apart = np.stack([noise, -noise], axis=1).tobytes()
    assert downmix(bytes(32000), apart, weights_of("stereo", 2)).channel is None


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there: set OLA_TEST_CASES")
def test_the_case_that_was_found_in_use() -> None:
    clip = heard(CASES / "antiphase.mp4", 8)
    assert clip.channel is not None
    assert onset(pcm(clip)) == pytest.approx(3.0, abs=0.05)
