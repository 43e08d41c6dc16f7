"""Load a user's file as the model takes it: an image, a video with its sound, or a sound.

Frames of a video are rendered as for training, so that the model sees in a chat what it was trained on. Raises BadMedia
with the reason, OSError where a file cannot be read.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from ola.prompt import Wave
from pipeline.errors import BadMedia
from pipeline.media.audio import RATE
from pipeline.media.audio_extraction import ClipRequest
from pipeline.media.probe import Facts, probe
from pipeline.media.recordings import extract_clip
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import open_container
from pipeline.sources.file_signature import describe_file

QUALITY = 95  # JPEG quality of the frames


def load_image(path: str) -> Image.Image:
    """Decode an image file."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise BadMedia(f"{path}: not a picture ({error})") from error


def load_video(
    path: str, frames: int, span: tuple[float, float | None] = (0.0, None)
) -> tuple[Sequence[Image.Image], Wave | None]:
    """Return at most `frames` images spread evenly over a span of a video, and its sound if it has one.

    span: start and end, seconds; None: the end of the video.
    """
    facts = _facts(path)
    start, end = span[0], facts.duration if span[1] is None else min(span[1], facts.duration)
    if not 0 <= start < end:
        raise BadMedia(f"{path}: expected a span within its {facts.duration:.3f} s, got {span[0]} to {span[1]}")
    times = tuple(start + (n + 0.5) * (end - start) / frames for n in range(frames))
    request = ClipRequest(round(start * 1000), max(round(start * 1000) + 1, round(end * 1000)), times)
    renderer = FrameRenderer.for_video(facts, QUALITY)
    clip = extract_clip(path, facts, request, renderer)
    if not clip.frames:
        raise BadMedia(f"{path}: no frame of it can be decoded")
    wave = None if clip.pcm is None else Wave(np.frombuffer(clip.pcm, np.int16), RATE)
    return [Image.open(io.BytesIO(jpeg)) for _, jpeg in clip.frames], wave


def _facts(path: str) -> Facts:
    try:
        facts = probe(path)
    except BadMedia as error:
        raise BadMedia(f"{path}: {error}") from error
    if facts is None:
        raise BadMedia(f"{path}: no moving picture in it; give a picture with --image, a sound with --sound")
    return facts


def load_sound(path: str) -> Wave:
    """Return the first audio track of a file, at its own rate."""
    import av
    import av.error

    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise BadMedia(f"{path}: no sound in it")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("fltp")  # converts only the sample format; rate and channels stay
            decoded = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
            parts = [part.to_ndarray() for part in (*decoded, *resampler.resample(None))]
            if not parts:
                raise BadMedia(f"{path}: no sound can be decoded")
            return Wave(np.concatenate(parts, axis=1), stream.rate)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise BadMedia(f"{path}: not a sound: {describe_file(path)}") from error
