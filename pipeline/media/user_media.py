"""A file of a user, as the model is asked about it: a picture, a video with its sound, or a sound.

Frames of a video come as the pipeline stores them for training, so that the model sees in a chat what it was trained
on. Raises BadMedia with the reason, OSError where a file cannot be read.
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
from pipeline.media.recordings import whole
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import open_container
from pipeline.sources.file_signature import guess

QUALITY = 95  # of the frames on their way, of 100


def look(path: str) -> Image.Image:
    """A picture, decoded."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise BadMedia(f"{path}: not a picture ({error})") from error


def watch(path: str, frames: int) -> tuple[Sequence[Image.Image], Wave | None]:
    """At most `frames` pictures spread evenly over a video, and its sound if it has one."""
    facts = _facts(path)
    stretch = facts.duration / frames
    cut = ClipRequest(0, max(1, round(facts.duration * 1000)), tuple((n + 0.5) * stretch for n in range(frames)))
    painter = FrameRenderer.of(facts, QUALITY)
    shot = whole(path, facts, cut, painter)
    if not shot.frames:
        raise BadMedia(f"{path}: no frame of it can be decoded")
    wave = None if shot.pcm is None else Wave(np.frombuffer(shot.pcm, np.int16), RATE)
    return [Image.open(io.BytesIO(jpeg)) for _, jpeg in shot.frames], wave


def _facts(path: str) -> Facts:
    try:
        facts = probe(path)
    except BadMedia as error:
        raise BadMedia(f"{path}: {error}") from error
    if facts is None:
        raise BadMedia(f"{path}: no moving picture in it; give a picture with --image, a sound with --sound")
    return facts


def hear(path: str) -> Wave:
    """The first sound track of any file that has one, at its own rate."""
    import av
    import av.error

    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise BadMedia(f"{path}: no sound in it")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("fltp")  # the one form of sample; rate and channels stay
            decoded = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
            parts = [part.to_ndarray() for part in (*decoded, *resampler.resample(None))]
            if not parts:
                raise BadMedia(f"{path}: no sound can be decoded")
            return Wave(np.concatenate(parts, axis=1), stream.rate)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise BadMedia(f"{path}: not a sound: {guess(path)}") from error
